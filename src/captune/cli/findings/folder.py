"""Whether a folder's file system provides what captune relies on; network shares often do not.

A bulk run replaces files by renaming, locks its output, keeps its journal in SQLite, and notices
edits by size and time.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from captune.cli.findings.finding import Finding, FindingState
from captune.errors import CaptuneError
from captune.storage import lock_file

_ELSEWHERE = "write captions to a file on a local disk: --out FILE"
_NUM_RENAMES = 200
_SECONDS_BETWEEN_WRITES = 0.02
_LOCK_IN_A_CHILD = (
    "import sys; from filelock import FileLock, Timeout\n"
    "try: FileLock(sys.argv[1]).acquire(timeout=0)\n"
    "except Timeout: sys.exit(7)\n"
)
_IS_HELD = 7
_NETWORK = ("nfs", "cifs", "smb", "9p", "afs", "ceph", "gluster", "lustre", "fuse")


def examine_folder(folder: Path) -> Iterator[Finding]:
    """Yield the problems of a folder's file system, or one finding that there are none."""
    name = "working folder" if folder == Path.cwd() else "folder"
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".captune-doctor-") as scratch:
            found = list(_problems(Path(scratch)))
    except OSError as error:
        detail = f"cannot be written: {error.strerror}; run captune elsewhere, or use --out"
        yield Finding("bad", name, detail)
        return
    kind = _file_system(folder)
    where = f"{folder} ({kind})" if kind else str(folder)
    for state, detail in found:
        yield Finding(state, name, f"{where}: {detail}")
    if not found:
        works = "renames are atomic, locks, journals and times work"
        yield Finding("ok", name, f"{where} can be written, {works}")
    if kind.startswith(_NETWORK):
        hint = "run one command per output; another machine may see it seconds later"
        yield Finding("note", name, f"{where} is a network file system: {hint}")


def _problems(scratch: Path) -> Iterator[tuple[FindingState, str]]:
    """Yield state and detail of each problem.

    Raises:
        OSError: The folder cannot be written.
    """
    if not _renames_are_atomic(scratch):
        yield "bad", f"renames are not atomic; {_ELSEWHERE}"
    if not _locks_work(scratch):
        yield "bad", f"two processes get the same lock; run one at a time, or {_ELSEWHERE}"
    if reason := _why_no_journal(scratch):
        yield "bad", f"SQLite does not work ({reason}); {_ELSEWHERE}"
    if not _times_are_fine(scratch):
        detail = "times of files are coarse: an edit soon after a write may not be noticed"
        yield "note", detail


def _renames_are_atomic(scratch: Path) -> bool:
    """Return whether a file always has complete content while another replaces it."""
    target, new = scratch / "target", scratch / "new"
    contents = (b"a" * 5000, b"b" * 5000)
    target.write_bytes(contents[0])
    is_whole, is_over = [True], threading.Event()

    def watch() -> None:
        while not is_over.is_set():
            try:
                seen = target.read_bytes()
            except OSError:
                seen = b""
            is_whole[0] = is_whole[0] and seen in contents

    reader = threading.Thread(target=watch, name="captune-doctor")
    reader.start()
    try:
        for number in range(_NUM_RENAMES):
            new.write_bytes(contents[number % 2])
            new.replace(target)
    finally:
        is_over.set()
        reader.join()
    return is_whole[0] and not new.exists()


def _locks_work(scratch: Path) -> bool:
    """Return whether another process fails to get a lock that this one holds."""
    try:
        with lock_file(scratch / "locked"):
            (held,) = scratch.rglob("locked.lock")
            words = [sys.executable, "-c", _LOCK_IN_A_CHILD, str(held)]
            return subprocess.run(words, check=False, timeout=60).returncode == _IS_HELD
    except (CaptuneError, ValueError, subprocess.TimeoutExpired):
        return False


def _why_no_journal(scratch: Path) -> str:
    """Return why a journal cannot be kept here; empty: it can."""
    place = scratch / "journal.sqlite"
    try:
        for number in range(2):
            with closing(sqlite3.connect(place, timeout=5)) as journal, journal:
                journal.execute("PRAGMA synchronous = EXTRA")
                journal.execute("CREATE TABLE IF NOT EXISTS rows(number INTEGER)")
                journal.execute("INSERT INTO rows VALUES (?)", (number,))
        with closing(sqlite3.connect(place)) as journal:
            found = journal.execute("SELECT number FROM rows").fetchall()
    except sqlite3.Error as error:
        return str(error)
    return "" if found == [(0,), (1,)] else f"it lost rows: {found}"


def _times_are_fine(scratch: Path) -> bool:
    """Return whether two writes in quick succession give a file different times."""
    place = scratch / "timed"
    place.write_bytes(b"a")
    before = place.stat().st_mtime_ns
    time.sleep(_SECONDS_BETWEEN_WRITES)
    place.write_bytes(b"b")
    return place.stat().st_mtime_ns != before


def _file_system(folder: Path) -> str:
    """Return the kind of a folder's file system, such as `ext4` or `nfs4`; empty: unknown."""
    try:
        # Names of mounts may have any bytes.
        text = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
    real, best = os.path.join(folder.resolve(), ""), ("", "")  # noqa: PTH118
    for line in text.split("\n")[:-1]:
        place, _, kind = line.partition(" - ")
        mount = place.split()[4].replace("\\040", " ")
        if real.startswith(os.path.join(mount, "")) and len(mount) >= len(best[0]):  # noqa: PTH118
            best = (mount, kind.split()[0])
    return best[1]
