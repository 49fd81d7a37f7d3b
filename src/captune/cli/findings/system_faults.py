"""Explain errors of the system that are not captune's: memory, threads, files, devices, workers.

They may occur anywhere, so the command line explains them at its border, with what helps.
"""

from __future__ import annotations

import errno
import os
import sys

from captune.errors import CHECK_DISK, OTHER_DISK, CaptuneError

_MAX_REASON = 200
_MEMORY = (
    "stop other programs on the device or this machine, or use less memory: a smaller batch size"
    " (--batch-size, train.micro_batch_size, evaluate.batch_size), another --device, or less data"
    " at once (--limit)"
)
_ROOM = "free some disk space, then run the same command again"
_PERMISSION = "check the permissions of the file and its folder, or choose another place"
_IN_THE_WAY = "something else has that name: rename it, or choose another place"
_GONE = "check the path: it was moved, deleted or disconnected while captune used it"
_TEMPORARY = "set TMPDIR to a folder that can be written"
_PROCESSES = (
    "the system allows no more processes or threads: stop other programs, use fewer"
    " (data.num_workers), or raise the limit (ulimit -u)"
)
_ADVICE = {
    errno.EACCES: _PERMISSION,
    errno.EAGAIN: _PROCESSES,
    errno.EPERM: _PERMISSION,
    errno.EROFS: "it is on a read-only disk: choose another place",
    errno.EEXIST: _IN_THE_WAY,
    errno.EFBIG: OTHER_DISK,
    errno.EIO: CHECK_DISK,
    errno.EISDIR: _IN_THE_WAY,
    errno.ELOOP: "the links lead in a circle: correct or remove them",
    errno.EMFILE: "allow more open files: ulimit -n 4096",
    errno.ENAMETOOLONG: "use a shorter name",
    errno.ENFILE: "stop other programs: the system allows no more open files",
    errno.ENOENT: _GONE,
    errno.ENOMEM: _MEMORY,
    errno.ENOSPC: _ROOM,
    errno.ENOTDIR: _IN_THE_WAY,
    errno.ENOTEMPTY: _IN_THE_WAY,
    getattr(errno, "EDQUOT", errno.ENOSPC): _ROOM,
    # Network drives and FUSE that are gone.
    getattr(errno, "ESTALE", errno.EIO): CHECK_DISK,
    errno.ENOTCONN: CHECK_DISK,
    errno.ETIMEDOUT: CHECK_DISK,
    getattr(errno, "EHOSTDOWN", errno.EIO): CHECK_DISK,
    getattr(errno, "EREMOTEIO", errno.EIO): CHECK_DISK,
}
"""How to fix errors of the system that are the user's, wherever they occur."""


def explain_system(error: BaseException) -> CaptuneError | None:
    """Return an error of the system as one with a fix; `None`: it is another error."""
    if _ran_out_of_memory(error):
        reason = _shorten(error) or "no reason given"
        return CaptuneError(f"memory ran out ({reason})", fix=_MEMORY)
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return CaptuneError(str(error), fix=_PROCESSES)
    if isinstance(error, OSError):
        if isinstance(error, FileNotFoundError) and _has_lost_its_folder():
            return CaptuneError(
                "the current folder was deleted", fix="go to a folder that exists, such as: cd ~"
            )
        # Python's own words, with the number of a missing file.
        has_no_place = "usable temporary directory" in str(error)
        advice = _TEMPORARY if has_no_place else _ADVICE.get(error.errno or 0)
        return None if advice is None else CaptuneError(describe_os_error(error), fix=advice)
    return _explain_device(error)


def _has_lost_its_folder() -> bool:
    try:
        os.getcwd()  # noqa: PTH109
    except FileNotFoundError:
        return True
    return False


def describe_os_error(error: OSError) -> str:
    """Return the system's reason, and the file if it names one.

    Of two files the second: captune writes to a temporary name and then replaces the file.
    """
    place = error.filename2 or error.filename
    return f"{error.strerror or error}" + (f": {place}" if place else "")


def _explain_device(error: BaseException) -> CaptuneError | None:
    if "torch" not in sys.modules:
        return None
    from captune.hardware import find_device_fix

    fix = find_device_fix(error)
    return None if fix is None else CaptuneError(f"the device failed: {_shorten(error)}", fix=fix)


def _ran_out_of_memory(error: BaseException) -> bool:
    if "torch" not in sys.modules:
        return isinstance(error, MemoryError)
    from captune.hardware import is_out_of_memory

    return is_out_of_memory(error)


def _shorten(error: BaseException) -> str:
    return " ".join(str(error).split())[:_MAX_REASON]
