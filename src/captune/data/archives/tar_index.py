"""The members of a tar file and their offsets, without unpacking it.

Members are never written to disk under their own names, so an unsafe name can do no harm; such
members, and those that are not regular files (devices, links, pipes), are still reported.
"""

from __future__ import annotations

import lzma
import struct
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, cast

from captune.data.archives.archive import ALWAYS_UNPACKED, MAX_RATIO, refuse_lfs_pointer
from captune.data.names.safe_names import is_clutter, is_unsafe_name
from captune.errors import DataError
from captune.storage import open_regular

_BLOCK = 512
_MAX_HEADER_BYTES = 2**20
_EXTENDED = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
_MAX_CONTENT_BYTES = 512 * 2**20
_MAX_TEXT_BYTES = 64 * 2**20
# tarfile raises all of these on damaged archives (found by damaging archives at random).
_ERRORS = (
    *(tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError, struct.error),
    *(ValueError, OverflowError, TypeError, LookupError),
)


class Readable(Protocol):
    """A stream that a tar is read from."""

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most `size`; empty at the end."""


@dataclass(frozen=True, slots=True)
class TarEntry:
    """One member of a tar.

    Attributes:
        name: Its name.
        offset: Where its bytes start in the archive.
        size: Its length in bytes.
        content: Its bytes, where they were requested.
        fault: `unsafe_name`, `not_a_file`, `too_large` or `truncated`; empty: usable.
    """

    name: str
    offset: int
    size: int
    content: bytes | None = None
    fault: str = ""


def iter_tar(path: Path, *, text_suffixes: frozenset[str]) -> Iterator[TarEntry]:
    """Yield the members of a tar in order, without folders and what macOS adds to each file.

    Members with one of `text_suffixes` include their content; in a compressed tar, which cannot be
    read from the middle, all do.

    Args:
        path: The tar, plain or compressed with gzip, bzip2 or xz.
        text_suffixes: Endings in lower case, such as `.txt`.

    Raises:
        DataError: It is not a tar, is a Git LFS pointer, or cannot be read.
    """
    # Opened once, so that a file without permission is not called damaged.
    open_regular(path).close()
    refuse_lfs_pointer(path)
    try:
        if is_plain_tar(path):
            with tarfile.open(path, "r:", tarinfo=_Header) as archive:
                yield from _entries(archive, size=path.stat().st_size, with_text=text_suffixes)
        else:
            with tarfile.open(path, "r|*", tarinfo=_Header) as archive:
                yield from _refuse_bomb(_entries(archive), path)
    except _ERRORS as error:
        raise _not_a_tar(str(path), error) from error


def iter_tar_stream(file: Readable, *, name: str) -> Iterator[TarEntry]:
    """Yield the members of a streamed tar with their content, without folders.

    Args:
        file: Read once, and no further than the current member.
        name: Name for errors.

    Raises:
        DataError: It is not a tar, or damaged; errors of reading the file pass through.
    """
    try:
        # Members before a broken end are used, as for a plain tar on disk.
        # A stream ("|") cannot seek back, so compressed bytes are unpacked only once.
        with tarfile.open(fileobj=cast(IO[bytes], file), mode="r|*", tarinfo=_Header) as archive:
            yield from _entries(archive, names_cut=True)
    except _ERRORS as error:
        raise _not_a_tar(name, error) from error


class _Header(tarfile.TarInfo):
    """A member's header with a limit; tarfile reads long names and attributes of any size."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _EXTENDED and self.size > _MAX_HEADER_BYTES:
            raise DataError(
                f"{archive.name or 'the tar'!r} has a header of {self.size:,} bytes; at most"
                f" {_MAX_HEADER_BYTES:,} are read",
                fix="do not trust this archive; pack its files again",
            )
        member: tarfile.TarInfo = super()._proc_member(archive)  # type: ignore[misc]
        return member


def _refuse_bomb(entries: Iterator[TarEntry], path: Path) -> Iterator[TarEntry]:
    """Stop before a compressed tar is unpacked to far more than its own size."""
    limit = max(ALWAYS_UNPACKED, MAX_RATIO * path.stat().st_size)
    for entry in entries:
        yield entry
        # Skipped members are unpacked too, to reach the next member.
        if entry.offset + entry.size > limit:
            raise DataError(
                f"{path} has {path.stat().st_size:,} bytes and unpacks to more than"
                f" {entry.offset + entry.size:,}, over {MAX_RATIO} times its size",
                fix="do not trust this archive; pack its files again",
            )


def _not_a_tar(name: str, error: Exception) -> DataError:
    return DataError(f"{name} is not a tar archive, or is damaged: {error}", fix="fetch it again")


def _entries(
    archive: tarfile.TarFile,
    *,
    size: int | None = None,
    with_text: frozenset[str] | None = None,
    names_cut: bool = False,
) -> Iterator[TarEntry]:
    last: tarfile.TarInfo | None = None
    while (member := _next(archive, last, size=size)) is not None:
        if isinstance(member, TarEntry):
            yield member
            return
        last = member
        if member.isdir() or (member.isreg() and is_clutter(member.name)):
            continue
        try:
            yield _read_entry(archive, member, with_text=with_text)
        except tarfile.ReadError:
            if not names_cut:
                raise
            yield TarEntry(member.name, member.offset_data, member.size, fault="truncated")
            return


def is_plain_tar(path: Path) -> bool:
    """Return whether a file starts like an uncompressed tar."""
    try:
        with open_regular(path) as file:
            head = file.read(_BLOCK)
    except (DataError, OSError):
        return False
    if head[257:262] == b"ustar":
        return True
    if head and not head.strip(b"\0"):
        # Only the end mark: an empty tar.
        return True
    # The oldest tars have only a checksum.
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def _next(
    archive: tarfile.TarFile, last: tarfile.TarInfo | None, *, size: int | None
) -> tarfile.TarInfo | TarEntry | None:
    """Return the next member; a `truncated` entry where the archive ends early."""
    try:
        member = archive.next()
    except tarfile.ReadError:
        if last is None:
            raise
        return _cut(last)
    if member is None and last is not None and size is not None and archive.offset < size:
        # tarfile silently ends at half a header, or at bytes that are not a header.
        archive.fileobj.seek(archive.offset)
        if archive.fileobj.read(_BLOCK).strip(b"\0"):
            return _cut(last)
    if member is not None and size is not None and member.offset_data + member.size > size:
        return TarEntry(member.name, member.offset_data, member.size, fault="truncated")
    return member


def _cut(last: tarfile.TarInfo) -> TarEntry:
    return TarEntry(f"(what follows {last.name})", last.offset_data, 0, fault="truncated")


def _read_entry(
    archive: tarfile.TarFile, member: tarfile.TarInfo, *, with_text: frozenset[str] | None
) -> TarEntry:
    """Return a member or its fault; with content where `with_text` is `None` or has its ending."""
    entry = TarEntry(member.name, member.offset_data, member.size)
    if is_unsafe_name(member.name):
        return TarEntry(member.name, entry.offset, entry.size, fault="unsafe_name")
    if not member.isreg() or member.issparse():
        return TarEntry(member.name, entry.offset, entry.size, fault="not_a_file")
    is_text = with_text is not None and Path(member.name).suffix.lower() in with_text
    if with_text is not None and not is_text:
        return entry
    if member.size > (_MAX_TEXT_BYTES if is_text else _MAX_CONTENT_BYTES):
        return TarEntry(member.name, entry.offset, entry.size, fault="too_large")
    file = archive.extractfile(member)
    assert file is not None
    return TarEntry(member.name, entry.offset, entry.size, content=file.read())
