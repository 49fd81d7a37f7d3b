"""Images and annotations inside zip and tar archives, read in place; nothing is unpacked to disk.

An archive is untrusted: names that lead out of a folder, archives truncated by a broken download,
Git LFS pointers and kilobytes that unpack to gigabytes each get an error of their own.
"""

from __future__ import annotations

import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath

from captune.data.names.safe_names import is_clutter, is_unsafe_name
from captune.data.rows.text import LFS_MARK
from captune.errors import CHECK_DISK, DataError, ImageError
from captune.records import TarMember, ZipMember
from captune.storage import open_regular
from captune.text_safety import quote_bytes

# A member is read whole, and a kilobyte of zip can hold a gigabyte.
_MAX_MEMBER_BYTES = 512 * 2**20
_MAX_TEXT_BYTES = 64 * 2**20

MAX_RATIO = 200
"""Maximum unpacked bytes per byte of an archive; images hardly compress, captions tenfold."""

ALWAYS_UNPACKED = 2**30
"""Bytes that any archive may unpack to, whatever its size."""

_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
# zipfile raises all of these on damaged archives (found by damaging archives at random).
_ZIP_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(RuntimeError, ValueError, LookupError, OverflowError),
)
_MEMBER_ERRORS = (OSError, *_ZIP_ERRORS)


def read_member(source: ZipMember | TarMember) -> bytes:
    """Return the encoded bytes of an image inside an archive.

    Raises:
        ImageError: `missing`, `truncated`, `too_many_pixels` (over 512 MiB), or `io`.
        DataError: The archive is a Git LFS pointer.
    """
    if isinstance(source, TarMember):
        return _read_tar_member(source)
    return _read_zip_member(source)


def list_zip(path: Path) -> tuple[str, ...]:
    """Return the names of the files in a zip, in order, without the files that macOS adds.

    Raises:
        DataError: It is truncated, not a zip, a Git LFS pointer, protected by a password, or a
            name in it is absolute or contains `..`.
    """
    try:
        members = open_zip(path).infolist()
    except OSError as error:
        raise DataError(
            f"cannot read {path}: {error.strerror or error}",
            fix=CHECK_DISK,
        ) from error
    except _ZIP_ERRORS as error:
        raise _explain_broken(path, error) from error
    _refuse_bomb(path, members)
    names = [name for member in members if (name := member.filename) and not name.endswith("/")]
    unsafe = next((name for name in names if is_unsafe_name(name)), None)
    if unsafe is not None:
        raise DataError(
            f"{path} holds a file named {unsafe!r}, which leads out of the archive's folder",
            fix="do not trust this archive; rebuild it with plain names, such as images/1.png",
        )
    if any(member.flag_bits & 0x1 for member in members):
        raise DataError(f"{path} is protected by a password", fix="rebuild it without one")
    return tuple(name for name in names if not is_clutter(name))


def _refuse_bomb(path: Path, members: Sequence[zipfile.ZipInfo]) -> None:
    # Members may overlap: each is small, but all of them unpack the same bytes.
    size, unpacked = path.stat().st_size, sum(member.file_size for member in members)
    if unpacked > max(ALWAYS_UNPACKED, MAX_RATIO * size):
        raise DataError(
            f"{path} has {size:,} bytes and unpacks to {unpacked:,}, more than {MAX_RATIO} times"
            " its size",
            fix="do not trust this archive; pack its files again",
        )


def read_zip_text(path: Path, name: str) -> bytes:
    """Return the bytes of a small file in a zip.

    Raises:
        DataError: It is damaged, or larger than 64 MiB.
    """
    where = f"{path}:{name}"
    try:
        archive = open_zip(path)
        if archive.getinfo(name).file_size > _MAX_TEXT_BYTES:
            raise DataError(
                "a text file of more than 64 MiB is not an annotation",
                where=where,
                fix="check the archive: an annotation describes one image",
            )
        return archive.read(name)
    except (*_MEMBER_ERRORS, EOFError) as error:
        raise DataError(
            f"a file in the archive is damaged: {error}",
            where=where,
            fix=f"fetch {path.name} again",
        ) from error


def require_no_inner_zip(path: Path, names: Sequence[str], *, wanted: str) -> None:
    """Refuse an archive that holds another archive instead of the wanted files.

    Args:
        path: The archive.
        names: Names of its files.
        wanted: The kind of file expected in it, for the error.

    Raises:
        DataError: It holds a zip.
    """
    inner = [name for name in names if PurePosixPath(name).suffix.lower() == ".zip"]
    if inner:
        raise DataError(
            f"{path} holds no {wanted} but another archive: {inner[0]}",
            fix=f"unpack {path.name} once, and give captune the folder with {inner[0]} in it",
        )


def is_lfs_pointer(path: Path) -> bool:
    """Return whether a file is a Git LFS pointer; `False` when it cannot be read."""
    try:
        with open_regular(path) as file:
            return file.read(len(LFS_MARK)) == LFS_MARK
    except (DataError, OSError):
        return False


def refuse_lfs_pointer(path: Path) -> None:
    """Refuse a Git LFS pointer in place of an archive.

    Raises:
        DataError: It is one.
    """
    if is_lfs_pointer(path):
        raise DataError(
            f"{path} is a Git LFS pointer, not the archive itself",
            fix="fetch the real file: `git lfs pull`, or download it by hand",
        )


def open_zip(path: Path) -> zipfile.ZipFile:
    """Return an open zip archive, opened once per process.

    Reading its table of contents again for each image is slow.

    Raises:
        DataError: The archive is a Git LFS pointer.
        OSError: The file cannot be read.
        zipfile.BadZipFile: It is not a zip.
    """
    return _open_zip(path, os.getpid(), path.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _open_zip(path: Path, _process: int, _changed: int) -> zipfile.ZipFile:
    # The process id is part of the key: forked processes would share one file position.
    refuse_lfs_pointer(path)
    return zipfile.ZipFile(path)


def _read_zip_member(source: ZipMember) -> bytes:
    name = f"{source.archive}:{source.member}"
    try:
        archive = open_zip(source.archive)
        if archive.getinfo(source.member).file_size > _MAX_MEMBER_BYTES:
            raise ImageError("too_many_pixels", where=f"{name}: over {_MAX_MEMBER_BYTES} bytes")
        return archive.read(source.member)
    except KeyError as error:
        raise ImageError("missing", where=f"{name}: no such member") from error
    except _MEMBER_ERRORS as error:
        raise ImageError("io", where=f"{name}: {error}") from error
    except EOFError as error:
        raise ImageError("truncated", where=name) from error


def _read_tar_member(source: TarMember) -> bytes:
    name = f"{source.archive}:{source.member}"
    if source.size > _MAX_MEMBER_BYTES:
        raise ImageError("too_many_pixels", where=f"{name}: over {_MAX_MEMBER_BYTES} bytes")
    try:
        with source.archive.open("rb") as file:
            file.seek(source.offset)
            content = file.read(source.size)
    except FileNotFoundError as error:
        raise ImageError("missing", where=f"{source.archive}: no such file") from error
    except (OSError, ValueError) as error:
        raise ImageError("io", where=f"{name}: {error}") from error
    if len(content) < source.size:
        raise ImageError("truncated", where=f"{name}: {len(content)} of {source.size} bytes")
    return content


def _explain_broken(path: Path, error: Exception) -> DataError:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(16)
    if not head:
        return DataError(f"{path} is empty: 0 bytes", fix="fetch it again")
    if head.startswith(_ZIP_STARTS):
        return DataError(
            f"{path} is truncated or damaged: its table of contents, at the end of the file, is"
            f" missing or broken (the file has {size} bytes: {error})",
            fix="fetch it again and compare its size with the original's",
        )
    return DataError(
        f"{path} is not a zip archive: it starts with {quote_bytes(head)}", fix="fetch it again"
    )
