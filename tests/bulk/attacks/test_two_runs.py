"""Two runs, an editor or a killed process on one output: nothing is written twice or lost."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from support.bulk.hostile_images import photo, write_photos
from support.bulk.kills import KillHarness, check_journals, read_tree, wait_until
from support.bulk.stub_captioner import Behaviour, caption_of, set_behaviour
from support.soak import FIRST_SEED, count, soak

pytestmark = pytest.mark.skipif(os.name == "nt", reason="sessions and SIGKILL")


@pytest.mark.slow
@pytest.mark.parametrize("flags", [["--to", "txt"], ["--out", "o.jsonl"]])
def test_a_second_run_is_refused_and_names_the_holder(tmp_path, model, captune, flags):
    write_photos(tmp_path / "photos", 40)
    set_behaviour(model, Behaviour(seconds_per_image=0.5))
    process = captune("caption", model, "photos", *flags, "--batch-size", 1).start()
    wait_until(lambda: any(tmp_path.rglob("*.lock")) or _has_output(tmp_path), process)
    time.sleep(0.3)
    second = captune("caption", model, "photos", *flags, is_alone=True).run()
    assert second.code == 2, second.err
    assert str(process.pid) in second.err
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)


@pytest.mark.slow
@pytest.mark.parametrize("order", [1, -1])
def test_runs_with_journals_in_different_places_never_write_the_same_texts(
    tmp_path, model, captune, order
):
    write_photos(tmp_path / "photos", 40)
    set_behaviour(model, Behaviour(seconds_per_image=0.5))
    beside, elsewhere = ["--to", "txt"], ["--to", "txt", "--to", "jsonl", "--out", "o.jsonl"]
    first, second = [beside, elsewhere][::order]
    process = captune("caption", model, "photos", *first, "--batch-size", 1).start()
    wait_until(lambda: any(tmp_path.rglob("bulk.lock")), process)
    time.sleep(0.3)
    refused = captune("caption", model, "photos", *second, is_alone=True).run()
    assert refused.code == 2, refused.err
    assert str(process.pid) in refused.err
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)


@pytest.mark.slow
@pytest.mark.parametrize("flags", [["--to", "txt"], ["--out", "o.jsonl"]])
def test_the_lock_of_a_killed_run_is_taken_over(tmp_path, model, captune, flags):
    write_photos(tmp_path / "photos", 30)
    set_behaviour(model, Behaviour(seconds_per_image=0.05))
    command = captune("caption", model, "photos", *flags, "--batch-size", 1)
    process = command.start()
    wait_until(lambda: _has_output(tmp_path), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    set_behaviour(model, Behaviour())
    ended = command.run()
    assert ended.code == 0, ended.err


def _has_output(folder: Path) -> bool:
    return any(folder.glob("photos/*.txt")) or any(
        path.stat().st_size > 0 for path in folder.rglob("o.jsonl.part")
    )


@pytest.mark.slow
def test_texts_edited_while_a_run_writes_are_never_overwritten(tmp_path, model, captune):
    paths = write_photos(tmp_path / "photos", 150)
    set_behaviour(model, Behaviour(seconds_per_image=0.01))
    process = captune("caption", model, "photos", "--to", "txt", "--batch-size", 4).start()
    draw = random.Random(FIRST_SEED)
    edited = {}
    wait_until(lambda: any((tmp_path / "photos").glob("*.txt")), process)
    while process.poll() is None:
        path = draw.choice(paths).with_suffix(".txt")
        edited[path] = f"mine {len(edited)}"
        path.write_text(edited[path])
        time.sleep(0.01)
    _, err = process.communicate(timeout=60)
    assert process.returncode in (0, 3), err
    for path, text in edited.items():
        assert path.read_text() == text, path
    others = set(paths) - {path.with_suffix(".png") for path in edited}
    for path in others:
        number = int(path.stem.removeprefix("photo"))
        assert path.with_suffix(".txt").read_text().strip() == caption_of(photo(number))


@pytest.mark.slow
@soak
@pytest.mark.parametrize("flags", [["--to", "txt", "--existing", "append"], ["--out", "o.jsonl"]])
def test_kills_at_random_times_lose_nothing(tmp_path, model, captune, flags):
    def prepare(name: str) -> None:
        photos = write_photos(tmp_path / name / "photos", 40)
        for path in photos[::3]:
            path.with_suffix(".txt").write_bytes(b"mine\r\n")

    set_behaviour(model, Behaviour(seconds_per_batch=0.01))
    words = ["caption", model, "photos", *flags, "--batch-size", 2]
    prepare("twin")
    twin = captune(*words)
    expected = _run_in(twin, tmp_path / "twin").run()
    assert expected.code == 0, expected.err
    wanted, num_kills, number = count(4, full=200), 0, 0
    while num_kills < wanted:
        folder = tmp_path / f"killed{number}"
        prepare(folder.name)
        command = _run_in(captune(*words), folder)
        harness = KillHarness(
            command, FIRST_SEED + number, check=lambda here=folder: check_journals(here)
        )
        harness.kill_at_times(wanted - num_kills, longest=expected.seconds)
        ended = command.run()
        assert ended.code == 0, ended.err
        assert _results(folder) == _results(tmp_path / "twin")
        num_kills += max(1, harness.num_kills)
        number += 1


def _results(folder: Path) -> dict[str, object]:
    found: dict[str, object] = dict(read_tree(folder))
    if "o.jsonl" in found:
        lines = (folder / "o.jsonl").read_text().splitlines()
        found["o.jsonl"] = sorted(json.loads(line)["image_id"] for line in lines)
    return found


def _run_in(command, folder: Path):
    from dataclasses import replace

    return replace(command, folder=folder)
