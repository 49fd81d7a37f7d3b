"""SIGKILL at random events: after a resume, nothing is lost, duplicated or half written.

Every form of output and every policy gives the bytes of a run that was not killed.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from support.bulk.fork_server import ForkServer
from support.bulk.hostile_images import write_photos
from support.bulk.kills import CaptuneCommand, KillHarness, check_journals, read_tree
from support.bulk.stub_captioner import Behaviour, write_stub
from support.soak import FIRST_SEED, count, soak

pytestmark = [soak, pytest.mark.skipif("os.name == 'nt'", reason="sessions and SIGKILL")]

NUM_PHOTOS = 12
CASES = {
    "txt": ["--to", "txt"],
    "txt-append": ["--to", "txt", "--existing", "append"],
    "caption-overwrite": ["--to", "caption", "--existing", "overwrite"],
    "jsonl": ["--out", "out.jsonl"],
    "jsonl-link": ["--out", "link.jsonl"],
    "csv": ["--out", "out.csv"],
    "xmp": ["--to", "xmp"],
    "metadata-prepend": ["--to", "metadata", "--existing", "prepend"],
    "metadata": ["--to", "metadata"],
    "webdataset": ["--to", "webdataset", "--out", "shards"],
    "parquet": ["--to", "parquet", "--out", "out.parquet"],
    "both": ["--to", "txt", "--to", "jsonl", "--out", "out"],
}
FAST = {"txt-append"}


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    with ForkServer() as started:
        yield started


def prepare(folder: Path) -> Path:
    """A folder with a stub, photos, one broken image, and texts that somebody wrote."""
    write_stub(folder / "model", behaviour=Behaviour(seconds_per_batch=0.01))
    photos = write_photos(folder / "photos", NUM_PHOTOS)
    (folder / "photos" / "broken.png").write_bytes(b"")
    (folder / "disk").mkdir()
    (folder / "link.jsonl").symlink_to("disk/target.jsonl")
    # It cannot hold a caption: embedding ones go into an XMP file beside it.
    Image.linear_gradient("L").save(folder / "photos" / "other.gif")
    for path in photos[::3]:
        path.with_suffix(".txt").write_bytes(b"mine\r\n")
        path.with_suffix(".caption").write_bytes(b"mine")
    return folder


def command(folder: Path, words: list[str], server: ForkServer) -> CaptuneCommand:
    return CaptuneCommand(
        ["caption", "model", "photos", *words, "--backend", "torch", "--batch-size", 2],
        folder=folder,
        environment={"CAPTUNE_CACHE": str(folder / "cache")},
        server=server,
    )


@pytest.mark.parametrize(
    "case",
    [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in CASES],
)
def test_a_run_killed_anywhere_resumes_to_the_files_of_one_that_was_not(tmp_path, server, case):
    twin = prepare(tmp_path / "twin")
    num_events = command(twin, CASES[case], server).count_events(tmp_path / "events")
    assert num_events > 20
    expected = results(twin)
    wanted, num_kills, number = count(6, full=200), 0, 0
    while num_kills < wanted:
        folder = prepare(tmp_path / f"killed{number}")
        killed = command(folder, CASES[case], server)
        harness = KillHarness(
            killed, FIRST_SEED + number, check=lambda here=folder: check_journals(here)
        )
        harness.kill_at_events(wanted - num_kills, last=num_events)
        ended = killed.run()
        assert ended.code == 3, ended.err
        assert results(folder) == expected
        # A third run finds everything done.
        assert killed.run().code == 3
        assert results(folder) == expected
        num_kills += max(1, harness.num_kills)
        number += 1
        shutil.rmtree(folder)


def results(folder: Path) -> dict[str, bytes]:
    found = read_tree(folder, without=(".captune", "model", "cache"))
    assert not [name for name in found if name.endswith(".part")]
    assert (folder / "link.jsonl").is_symlink()
    return found
