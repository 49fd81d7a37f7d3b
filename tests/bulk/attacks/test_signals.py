"""Ctrl-C, SIGTERM and SIGHUP end a run within 5 s at any stage; nothing written is lost."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from support.bulk.hostile_images import write_photos
from support.bulk.kills import check_journals, wait_until
from support.bulk.stub_captioner import Behaviour, set_behaviour
from support.soak import count, soak

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.mark.slow
@pytest.mark.parametrize("number", CODES)
def test_a_signal_while_captioning_ends_cleanly_and_the_run_resumes(
    tmp_path, model, captune, number
):
    write_photos(tmp_path / "photos", 120)
    set_behaviour(model, Behaviour(seconds_per_image=0.02))
    command = captune("caption", model, "photos", "--to", "txt", "--batch-size", 2)
    process = command.start()
    photos = tmp_path / "photos"
    wait_until(lambda: any(photos.glob("*.txt")), process)
    sent = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == CODES[number]
    assert time.monotonic() - sent < 5
    assert b"are kept: run the same command again to resume" in err
    kept = len(list(photos.glob("*.txt")))
    assert f"{kept} captions are kept".encode() in err
    assert 0 < kept < 120
    check_journals(tmp_path)
    set_behaviour(model, Behaviour())
    ended = command.run()
    assert ended.code == 0
    assert f"{kept} already had a caption" in ended.err
    assert len(list(photos.glob("*.txt"))) == 120


@soak
@pytest.mark.parametrize("number", CODES)
def test_a_signal_at_any_time_gives_its_own_exit_code(tmp_path, model, captune, number):
    write_photos(tmp_path / "photos", 30)
    set_behaviour(model, Behaviour(seconds_per_image=0.02))
    for step in range(count(5, full=40)):
        process = captune("caption", model, "photos", "--out", f"{step}.jsonl").start()
        time.sleep(0.03 + 0.5 * step / count(5, full=40))
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        # The fork's own first moments have Python's handlers.
        started = {-number, 130} if not err else set()
        assert process.returncode in {CODES[number], 0} | started, err
    check_journals(tmp_path)


def test_a_second_ctrl_c_ends_at_once(tmp_path, model, captune):
    write_photos(tmp_path / "photos", 4)
    set_behaviour(model, Behaviour(seconds_per_batch=30))
    process = captune("caption", model, "photos", "--out", "o.jsonl").start()
    wait_until(lambda: any((tmp_path).glob("*.part")) or any(tmp_path.glob(".captune/*")), process)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    sent = time.monotonic()
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert time.monotonic() - sent < 5
    assert process.returncode in (130, -signal.SIGINT)


@pytest.mark.slow
def test_a_reader_that_stops_reading_does_not_lose_the_file(tmp_path, model, captune):
    write_photos(tmp_path / "photos", 200)
    command = captune("caption", model, "photos", "--to", "jsonl", is_alone=True)
    process = command.start()
    assert process.stdout is not None
    first = json.loads(process.stdout.readline())
    process.stdout.close()
    process.stdout = None
    process.communicate(timeout=100)
    assert first["image_id"] == "photos/photo000000.png"
    assert process.returncode == 0
