"""Atomic writes of whole folders: checkpoints, models and caches appear complete or not at all.

A folder is filled in a temporary place, synced and renamed, so that a kill at any moment leaves
either the old state or the new one, never half of one.
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

from captune.storage.atomic_files import RUN_AGAIN, cannot_write


def write_folder(path: Path, write: Callable[[Path], None], *, then: str = RUN_AGAIN) -> None:
    """Fill a temporary folder with `write`, sync it, and put it in place of `path`.

    Raises:
        OutputError: The place cannot be written, or the disk is full.
    """
    aside, old = path.with_name(f".{path.name}.new"), path.with_name(f".{path.name}.old")
    with _written_whole(path, aside, then=then):
        remove_folder(aside)
        aside.mkdir(parents=True)
        write(aside)
        share_files(aside)
        _sync_tree(aside)
        remove_folder(old)
        if path.exists():
            path.rename(old)
        aside.rename(path)
        sync_folder(path.parent)
        remove_folder(old)


def write_into_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Add to a folder the files that `write` makes, each whole; other files stay.

    Raises:
        OutputError: The place cannot be written, or the disk is full; nothing is changed then.
    """
    aside = folder / ".captune-new"
    with _written_whole(folder, aside, then=RUN_AGAIN):
        remove_folder(aside)
        aside.mkdir(parents=True)
        write(aside)
        share_files(aside)
        _sync_tree(aside)
        for path in sorted(p for p in aside.rglob("*") if p.is_file()):
            target = folder / path.relative_to(aside)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
        shutil.rmtree(aside)


@contextmanager
def _written_whole(path: Path, aside: Path, *, then: str) -> Iterator[None]:
    # The bindings alone, without torch; `captune score` never comes here.
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = _disk_error(error)
        if reason is None:
            raise
        raise cannot_write(path, reason, then=then) from error
    finally:
        # Half a folder would go on filling the disk that had no room for all of it.
        shutil.rmtree(aside, ignore_errors=True)


def _disk_error(error: Exception) -> OSError | None:
    """The system's error, whoever wrote; `None` where it is no fault of the disk.

    safetensors wraps the system's error into its own, and torch.save only says where it got stuck.
    """
    if isinstance(error, OSError):
        return error
    if type(error).__name__ == "SafetensorError":
        _, found, reason = str(error).partition("I/O error: ")
        number = re.search(r"\(os error (\d+)\)", reason)
        return OSError(int(number[1]) if number else errno.EIO, reason) if found else None
    if "inline_container" in str(error) or "PytorchStreamWriter" in str(error):
        return OSError(errno.ENOSPC, "the disk took only a part of it")
    return None


def recover_folder(path: Path) -> None:
    """Put the old folder back where a kill fell between the two renames of `write_folder`."""
    old = path.with_name(f".{path.name}.old")
    if not path.exists() and old.exists():
        old.rename(path)


def remove_folder(path: Path) -> None:
    """Delete a folder, out of sight first: a kill never leaves half of one under a good name."""
    if not path.exists():
        return
    doomed = path.with_name(f".{path.name.lstrip('.')}.gone")
    if doomed.exists() and doomed != path:
        shutil.rmtree(doomed)
    path.rename(doomed)
    shutil.rmtree(doomed)


def share_files(folder: Path) -> None:
    """Give the files of a folder the mode of any new file; safetensors makes private ones."""
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
    """Bring a file's content to the disk."""
    # Windows syncs what may be written only.
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Bring a folder's names to the disk, where the system opens folders; Windows does not."""
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
