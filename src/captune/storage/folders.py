"""Atomic writes of folders: checkpoints, models and caches are complete or absent.

A temporary folder is filled, synced and renamed, so that a kill at any moment leaves either the
old state or the new one, never half of one.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from captune.errors import CaptuneError, OutputError
from captune.storage.atomic_files import RUN_AGAIN, cannot_write


def require_utf8(folder: Path, error: type[CaptuneError] = OutputError, *, where: str = "") -> None:
    """Refuse a path for a model that is not UTF-8: the library of tokenizers takes no other.

    Raises:
        CaptuneError: Its bytes are something else; of the given kind.
    """
    try:
        os.fspath(folder).encode("utf-8")
    except UnicodeEncodeError as fault:
        raise error(
            f"the path of a model must be UTF-8, and {folder} is not",
            where=where,
            fix="choose another folder, or rename it; if the name is right, set PYTHONUTF8=1",
        ) from fault


def write_folder(path: Path, write: Callable[[Path], None], *, then: str = RUN_AGAIN) -> None:
    """Fill a temporary folder with `write`, sync it, and replace `path` with it.

    Where `path` is a link to a folder, perhaps on a larger disk, the link stays and that folder is
    replaced.

    Raises:
        OutputError: The folder cannot be written, or the disk is full.
    """
    path = _follow(path)
    temporary, old = path.with_name(f".{path.name}.new"), path.with_name(f".{path.name}.old")
    try:
        with _filled(path, temporary, write, then=then):
            remove_folder(old)
            if path.exists():
                path.rename(old)
            temporary.rename(path)
            sync_folder(path.parent)
            remove_folder(old)
    finally:
        # An error or a signal between the two renames would leave nothing under the name.
        recover_folder(path)


def write_into_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Add the files that `write` creates to a folder, each atomically; other files stay.

    Raises:
        OutputError: The folder cannot be written, or the disk is full; it is unchanged then.
    """
    temporary = folder / ".captune-new"
    with _filled(folder, temporary, write, then=RUN_AGAIN):
        for path in sorted(p for p in temporary.rglob("*") if p.is_file()):
            target = folder / path.relative_to(temporary)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
        shutil.rmtree(temporary)


@contextmanager
def _filled(
    path: Path, temporary: Path, write: Callable[[Path], None], *, then: str
) -> Iterator[None]:
    """Fill and sync a temporary folder, which the body moves to `path`; delete what is left."""
    # Only the bindings, without torch; `captune score` never gets here.
    from safetensors import SafetensorError

    try:
        remove_folder(temporary)
        temporary.mkdir(parents=True)
        write(temporary)
        share_files(temporary)
        _sync_tree(temporary)
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = _disk_error(error)
        if reason is None:
            raise
        raise cannot_write(path, reason, then=then) from error
    finally:
        # Half a folder would keep filling a disk that is full already.
        shutil.rmtree(temporary, ignore_errors=True)


def _disk_error(error: Exception) -> OSError | None:
    """Return the system's error, whichever library wrote; `None` if the disk is not the cause.

    safetensors wraps the system's error in its own, and torch.save only reports where it stopped.
    """
    if isinstance(error, OSError):
        return error
    if type(error).__name__ == "SafetensorError":
        _, found, reason = str(error).partition("I/O error: ")
        number = re.search(r"\(os error (\d+)\)", reason)
        return OSError(int(number[1]) if number else errno.EIO, reason) if found else None
    if "inline_container" in str(error) or "PytorchStreamWriter" in str(error):
        return OSError(errno.ENOSPC, "only a part of it fits the disk")
    return None


def recover_folder(path: Path) -> None:
    """Restore the old folder if a kill fell between the two renames of `write_folder`."""
    path = _follow(path)
    old = path.with_name(f".{path.name}.old")
    if not path.exists() and old.exists():
        old.rename(path)


def remove_folder(path: Path) -> None:
    """Rename a folder, then delete it: a kill never leaves half of one under its own name.

    Where it is a link to a folder, that folder is deleted, and the link stays.
    """
    path = _follow(path)
    if not path.exists():
        return
    doomed = path.with_name(f".{path.name.lstrip('.')}.gone")
    if doomed.exists() and doomed != path:
        shutil.rmtree(doomed)
    path.rename(doomed)
    shutil.rmtree(doomed)


def _follow(path: Path) -> Path:
    """Return the folder that a link leads to, which may not exist yet, or the path itself."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def share_files(folder: Path) -> None:
    """Give the files of a folder the mode of any new file; safetensors creates private ones."""
    probe = folder / f".captune-{secrets.token_hex(6)}.part"
    with probe.open("xb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    probe.unlink()
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(mode)


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_dir():
            sync_folder(path)
        else:
            sync_file(path)
    sync_folder(folder)


def sync_file(path: Path) -> None:
    """Flush a file's content to the disk."""
    # Windows syncs only handles that may write.
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Flush a folder's names to the disk, if the system opens folders; Windows does not."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems sync files only.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(handle)
