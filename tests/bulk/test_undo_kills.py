"""SIGKILL inside `captune undo`: the next one completes it and restores every byte."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from support.bulk.fork_server import ForkServer
from support.bulk.hostile_images import write_photos
from support.bulk.kills import CaptuneCommand, check_journals, read_tree
from support.bulk.stub_captioner import write_stub
from support.soak import FIRST_SEED, count, soak

pytestmark = [
    soak,
    pytest.mark.slow,
    pytest.mark.skipif("os.name == 'nt'", reason="sessions and SIGKILL"),
]

CASES = {
    "txt-append": ["--to", "txt", "--existing", "append"],
    "metadata": ["--to", "metadata"],
    "jsonl": ["--out", "o.jsonl"],
    "webdataset": ["--to", "webdataset", "--out", "shards"],
}
FAST = {"txt-append", "jsonl"}
OWN = (".captune", "model", "cache")


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    with ForkServer() as started:
        yield started


@pytest.mark.parametrize(
    "case",
    [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in CASES],
)
def test_an_undo_killed_anywhere_is_completed_by_the_next(tmp_path, server, case):
    words = CASES[case]
    start = tmp_path / "start"
    write_stub(start / "model")
    photos = write_photos(start / "photos", 6)
    for path in photos[::2]:
        path.with_suffix(".txt").write_bytes(b"mine\r\n")

    def command(folder: Path, *given: object) -> CaptuneCommand:
        more = ["--backend", "torch"] if given[0] == "caption" else []
        environment = {"CAPTUNE_CACHE": str(folder / "cache")}
        return CaptuneCommand([*given, *more], folder, environment, server)

    if case == "jsonl":
        # An earlier file, which undo restores.
        early = command(start, "caption", "model", f"photos/{photos[0].name}", *words).run()
        assert early.code == 0, early.err
    before = read_tree(start, without=OWN)
    done = command(start, "caption", "model", "photos", *words).run()
    assert done.code == 0, done.err
    run_id = done.err.split()[-1]
    twin = tmp_path / "twin"
    shutil.copytree(start, twin)
    _move(twin, start)
    num_events = command(twin, "undo", run_id).count_events(tmp_path / "events")
    assert read_tree(twin, without=OWN) == before
    draw = random.Random(FIRST_SEED)
    wanted = min(num_events, count(6, full=200))
    for number in sorted(draw.sample(range(1, num_events + 1), wanted)):
        folder = tmp_path / f"killed{number}"
        shutil.copytree(start, folder)
        _move(folder, start)
        killed = command(folder, "undo", run_id).kill_at_event(number)
        check_journals(folder)
        ended = command(folder, "undo", run_id).run()
        # The kill may have come after the last step.
        assert ended.code == 0 or "was undone before" in ended.err, ended.err
        assert read_tree(folder, without=OWN) == before, (number, killed.code, ended.err)
        shutil.rmtree(folder)


def _move(folder: Path, start: Path) -> None:
    """Let the journals of a copied folder name that folder: they hold absolute paths."""
    old, new = os.fsencode(start.absolute()), os.fsencode(folder.absolute())
    for path in (folder / "cache").rglob("bulk-runs/*.json"):
        path.write_bytes(path.read_bytes().replace(old, new))
    for path in folder.rglob("*.sqlite"):
        with closing(sqlite3.connect(path)) as journal, journal:
            for table, columns in (
                ("replaced", ("target", "kept")),
                ("changes", ("target", "temporary")),
            ):
                for row, *values in journal.execute(
                    f"SELECT rowid, {', '.join(columns)} FROM {table}"
                ).fetchall():
                    moved = [value and value.replace(old, new) for value in values]
                    settings = ", ".join(f"{column} = ?" for column in columns)
                    journal.execute(f"UPDATE {table} SET {settings} WHERE rowid = ?", (*moved, row))
