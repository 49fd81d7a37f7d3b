"""The rules of Windows on Linux, for commands: `python -m support.windows WORDS... [+ WORDS...]`.

Windows does not open folders, syncs only writable handles, does not replace or delete a file
that is open or mapped or rename a folder that holds one, refuses some characters, names and long
paths, spawns processes instead of forking, and lacks some modules. Linux lists the open files, so
this runs on Linux only.
"""

# pathlib goes through the functions that are replaced here.
# ruff: noqa: PTH100, PTH112, PTH115, PTH208

from __future__ import annotations

import builtins
import errno
import gc
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

_MISSING_MODULES = ("fcntl", "pwd", "grp", "resource", "termios")
_MISSING_NAMES = (
    *("fork", "forkpty", "getuid", "geteuid", "sysconf", "posix_fallocate", "pwrite", "mkfifo"),
    *("sched_getaffinity", "O_DIRECTORY", "getpgid", "killpg"),
)
_RESERVED = {
    *("con", "prn", "aux", "nul"),
    *(f"{kind}{number}" for kind in ("com", "lpt") for number in range(1, 10)),
}
_MAX_PATH = 260


def install() -> None:
    """Apply the rules to this process, permanently."""
    import multiprocessing
    import signal

    # Other packages check sys.platform, which is still the real one, when they are imported.
    import accelerate
    import datasets
    import torch
    import torch.utils.tensorboard
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer, Seq2SeqTrainer

    assert all((accelerate, datasets, torch, AutoImageProcessor, AutoModel, AutoTokenizer))
    assert Seq2SeqTrainer
    # The modules of captune that check the platform.
    from captune.hardware import devices, process_memory

    for module in (devices, process_memory):
        module.sys = SimpleNamespace(platform="win32")  # type: ignore[attr-defined]

    multiprocessing.set_start_method("spawn", force=True)
    _remove_modules()
    for name in _MISSING_NAMES:
        if hasattr(os, name):
            delattr(os, name)
    for name in ("SIGHUP", "SIGQUIT", "SIGUSR1", "SIGALRM"):
        delattr(signal, name)
    _forbid_open_files()
    _forbid_folders_and_names()
    os.fsync = _refuse_read_only(os.fsync)


def _remove_modules() -> None:
    real = builtins.__import__

    def import_(name: str, globals_: Any = None, *others: Any, **settings: Any) -> Any:
        if name in _MISSING_MODULES and (globals_ or {}).get("__name__", "").startswith("captune"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, globals_, *others, **settings)

    builtins.__import__ = import_


def in_use(path: str | os.PathLike[str]) -> bool:
    """Return whether this process has the file, or one in the folder, open or mapped."""
    place = os.path.realpath(os.fspath(path))
    inside = place + os.sep
    found = set()
    for handle in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{handle}"))
        except OSError:
            continue
    with io.open_code("/proc/self/maps") as file:
        lines = file.read().decode("utf-8", "replace").splitlines()
    found |= {line.split(maxsplit=5)[5] for line in lines if len(line.split(maxsplit=5)) == 6}
    return any(name == place or name.startswith(inside) for name in found)


def _sharing_violation(path: Any) -> PermissionError:
    error = PermissionError(errno.EACCES, "The process cannot access the file", str(path))
    error.winerror = 32  # type: ignore[attr-defined]
    return error


def _forbid_open_files() -> None:
    def wrap(name: str, *, exists_is_error: bool = False) -> None:
        real = getattr(os, name)

        def checked(*paths: Any, **settings: Any) -> Any:
            for path in paths:
                is_own = isinstance(path, str | os.PathLike) and os.path.lexists(path)
                # `shutil.rmtree` may name files relative to the handle of their folder.
                if is_own and settings.get("dir_fd") is None and in_use(path):
                    raise _sharing_violation(path)
            if exists_is_error and os.path.lexists(paths[1]):
                raise FileExistsError(errno.EEXIST, "Cannot create a file that exists", paths[1])
            return real(*paths, **settings)

        setattr(os, name, checked)

    wrap("rename", exists_is_error=True)
    for name in ("replace", "unlink", "remove", "rmdir"):
        wrap(name)
    # With handles of folders, it would bypass the rules.
    import shutil

    shutil._use_fd_functions = False  # type: ignore[attr-defined]


def _forbid_folders_and_names() -> None:
    real_open, real_os_open, real_mkdir = builtins.open, os.open, os.mkdir

    def os_open(path: Any, flags: int, *others: Any, **settings: Any) -> int:
        if isinstance(path, str | os.PathLike):
            _check_name(path, is_new=bool(flags & os.O_CREAT))
            if os.path.isdir(path):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real_os_open(path, flags, *others, **settings)

    def open_(file: Any, mode: str = "r", *others: Any, **settings: Any) -> Any:
        if isinstance(file, str | os.PathLike):
            _check_name(file, is_new=any(letter in mode for letter in "wxa"))
        return real_open(file, mode, *others, **settings)

    def mkdir(path: Any, *others: Any, **settings: Any) -> None:
        _check_name(path, is_new=True)
        real_mkdir(path, *others, **settings)

    os.open, os.mkdir = os_open, mkdir
    builtins.open = io.open = open_  # type: ignore[assignment]


def _check_name(path: Any, *, is_new: bool) -> None:
    name = Path(os.fspath(path)).name if isinstance(os.fspath(path), str) else ""
    is_refused = (
        any(letter in name for letter in '<>:"|?*')
        or any(ord(letter) < 32 for letter in name)
        or name.partition(".")[0].rstrip(" ").lower() in _RESERVED
        or name != name.rstrip(". ")
    )
    is_long = len(os.path.abspath(os.fspath(path))) >= _MAX_PATH
    if is_new and name and is_long:
        # Not ENOENT, which filelock on Linux takes for a lock that is being deleted.
        error = OSError(errno.EINVAL, "The filename or extension is too long", str(path))
        error.winerror = 206  # type: ignore[attr-defined]
        raise error
    if is_new and name and is_refused and not str(path).startswith(("/proc", "/dev")):
        raise OSError(errno.EINVAL, "The filename, directory name, or label is incorrect", path)


def _refuse_read_only(real: Callable[[int], None]) -> Callable[[int], None]:
    def fsync(handle: Any) -> None:
        number = handle if isinstance(handle, int) else handle.fileno()
        flags = Path(f"/proc/self/fdinfo/{number}").read_text().split("flags:\t")[1].split()[0]
        if int(flags, 8) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        real(number)

    return fsync


def run_all(words: list[str]) -> None:
    """Run commands with `+` between them, until one fails."""
    from captune.cli import main

    while "+" in words:
        place = words.index("+")
        try:
            main(words[:place])
        except SystemExit as end:
            if end.code:
                raise
        words = words[place + 1 :]
        # The end of a process closes the files that a command left open in a reference cycle.
        gc.collect()
    main(words)


if __name__ == "__main__":
    install()
    run_all(sys.argv[1:])
