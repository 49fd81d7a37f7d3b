"""A full or read-only disk stops a run at once; no file is left half written, and it resumes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.bulk.hostile_images import write_photos
from support.bulk.kills import check_journals, read_tree
from support.soak import count, soak

_ROOT_ONLY = "mounting a small disk needs root"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB in memory."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        done = False
    if not done:
        pytest.skip(_ROOT_ONLY)
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(place: Path, *, leave: int) -> Path:
    """Fill a disk up to a number of bytes."""
    free = os.statvfs(place)
    path = place / "filling"
    path.write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - leave)))
    return path


FORMS = {
    "txt": ["--to", "txt"],
    "xmp": ["--to", "xmp"],
    "jsonl": ["--out", "disk/o.jsonl"],
    "csv": ["--out", "disk/o.csv"],
    "webdataset": ["--to", "webdataset", "--out", "disk/shards"],
    "parquet": ["--out", "disk/o.parquet", "--to", "parquet"],
}


@pytest.mark.slow
@soak
@pytest.mark.parametrize("form", FORMS)
def test_a_full_disk_stops_the_run_and_it_resumes_when_there_is_room(
    tmp_path, model, captune, small_disk, form
):
    write_photos(small_disk / "photos", 40)
    twin = tmp_path / "twin"
    twin.mkdir()
    command = captune("caption", "model", "disk/photos", *FORMS[form], "--batch-size", 4)
    for room in range(8_000, 200_000, count(64_000, full=8_000)):
        filling = fill(small_disk, leave=room)
        ended = command.run()
        assert ended.code in (0, 2), (room, ended.err)
        if ended.code == 0:
            break
        assert "No space left" in ended.err or "disk" in ended.err.lower(), ended.err
        assert "fix:" in ended.err
        for name, content in read_tree(small_disk).items():
            if name.endswith((".txt", ".xmp")):
                assert content.strip(), name
        filling.unlink()
        check_journals(small_disk)
    (small_disk / "filling").unlink(missing_ok=True)
    ended = command.run()
    assert ended.code == 0, ended.err
    found = read_tree(small_disk)
    assert not [name for name in found if name.endswith((".part", ".tmp"))]
    if form in ("txt", "xmp"):
        assert sum(name.endswith(f".{form}") for name in found) == 40
    if form in ("jsonl", "csv"):
        assert found[f"o.{form}"].count(b"\n") == 40 + (form == "csv")


@pytest.mark.parametrize("form", FORMS)
def test_a_read_only_disk_stops_before_the_model_is_loaded(tmp_path, captune, small_disk, form):
    write_photos(small_disk / "photos", 3)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    ended = captune("caption", "no-such-model", "disk/photos", *FORMS[form]).run()
    assert ended.code == 2, ended.err
    assert "no-such-model" not in ended.err.split("fix:")[0].replace("caption no-such-model", "")
    assert "Read-only" in ended.err or "cannot write" in ended.err, ended.err


def test_a_read_only_folder_among_others_costs_its_own_images(tmp_path, model, captune, small_disk):
    write_photos(small_disk / "inside", 2)
    write_photos(tmp_path / "photos", 3)
    (tmp_path / "photos" / "a").symlink_to(small_disk / "inside")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    ended = captune("caption", "model", "photos", "--follow", "--to", "txt").run()
    assert (ended.code, ended.err.count("failed:io")) == (3, 2), ended.err
    assert len(list((tmp_path / "photos").glob("*.txt"))) == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_screen_is_an_error_and_not_a_crash(tmp_path, model, captune):
    write_photos(tmp_path / "photos", 3)
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [*_shell_words(captune("caption", model, "photos"))],
            cwd=tmp_path,
            stdout=full,
            stderr=subprocess.PIPE,
            env=_environment(tmp_path),
            check=False,
        )
    assert ended.returncode == 2, ended.stderr
    assert b"cannot write" in ended.stderr


def _shell_words(command) -> list[str]:
    import sys

    from support.bulk.kills import PROGRAM

    return [sys.executable, "-c", PROGRAM, *map(str, command.words)]


def _environment(folder: Path) -> dict[str, str]:
    from support.bulk.fork_server import stub_environment

    return {**stub_environment(), "CAPTUNE_CACHE": str(folder / "cache")}
