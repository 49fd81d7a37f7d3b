"""A model in its own process: a crash or a hang costs only the image that causes it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from support.bulk.fork_server import ForkServer
from support.bulk.hostile_images import write_photos
from support.bulk.kills import CaptuneCommand, finish, wait_until
from support.bulk.stub_captioner import Behaviour, caption_of, poison, write_stub

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("os.name == 'nt'", reason="sessions and signals"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    with ForkServer() as started:
        yield started


def run(folder: Path, server: ForkServer, *, seconds: float = 60.0):
    command = CaptuneCommand(
        # A small batch, because each fault in it costs a start of the model.
        ["caption", "model", "photos", "--to", "txt", "--backend", "torch", "--batch-size", 4],
        folder=folder,
        server=server,
        environment={
            "CAPTUNE_CACHE": str(folder / "cache"),
            "CAPTUNE_WORKER_SECONDS": str(seconds),
        },
    )
    return command.run()


@pytest.mark.parametrize(
    ("fault", "code"),
    [("crash", "worker_crash"), ("hang", "worker_hang"), ("error", "model_error")],
)
def test_an_image_that_ends_the_model_is_listed_and_the_others_are_captioned(
    tmp_path, server, fault, code
):
    write_stub(tmp_path / "model")
    photos = write_photos(tmp_path / "photos", 110)
    poison(fault).save(tmp_path / "photos" / "photo000050b.png")
    ended = run(tmp_path, server, seconds=5.0)
    assert ended.code == 3, ended.err
    assert f"failed:{code}  photos/photo000050b.png" in ended.err
    for path in photos:
        with Image.open(path) as image:
            expected = caption_of(image.convert("RGB")) + "\n"
        assert path.with_suffix(".txt").read_text() == expected
    # It is remembered.
    again = run(tmp_path, server)
    assert (again.code, "110 already had a caption" in again.err) == (3, True), again.err


def test_a_crash_that_does_not_recur_costs_no_image(tmp_path, server):
    write_stub(tmp_path / "model", behaviour=Behaviour(fault_times=1))
    write_photos(tmp_path / "photos", 110)
    poison("crash").save(tmp_path / "photos" / "photo000050b.png")
    ended = run(tmp_path, server)
    assert ended.code == 0, ended.err
    assert len(list((tmp_path / "photos").glob("*.txt"))) == 111


def test_a_small_run_that_crashed_is_repeated_in_a_child_process(tmp_path, server):
    write_stub(tmp_path / "model")
    write_photos(tmp_path / "photos", 5)
    poison("crash").save(tmp_path / "photos" / "photo000002b.png")
    assert run(tmp_path, server).code == -11
    ended = run(tmp_path, server)
    assert ended.code == 3, ended.err
    assert "failed:worker_crash  photos/photo000002b.png" in ended.err
    assert len(list((tmp_path / "photos").glob("*.txt"))) == 5


def test_a_model_that_cannot_be_loaded_again_after_a_crash_ends_the_run(tmp_path, server):
    write_stub(tmp_path / "model", behaviour=Behaviour(seconds_per_batch=0.05, fault_times=1))
    write_photos(tmp_path / "photos", 110)
    poison("crash").save(tmp_path / "photos" / "photo000108b.png")
    words = ["caption", "model", "photos", "--to", "txt", "--backend", "torch", "--batch-size", 4]
    environment = {"CAPTUNE_CACHE": str(tmp_path / "cache")}
    command = CaptuneCommand(words, tmp_path, environment, server)
    started, process = time.monotonic(), command.start()
    wait_until(lambda: any((tmp_path / "photos").glob("*.txt")), process)
    (tmp_path / "model" / "config.json").rename(tmp_path / "config.json")
    ended = finish(process, started, timeout=120)
    assert ended.code == 2, ended.err
    assert "failed:" not in ended.err
    (tmp_path / "config.json").rename(tmp_path / "model" / "config.json")
    ended = command.run()
    assert ended.code == 0, ended.err
    assert len(list((tmp_path / "photos").glob("*.txt"))) == 111


def test_a_model_that_fails_to_load_is_an_error_of_the_model(tmp_path, server):
    write_stub(tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text('{"model_type": "stub"}')
    write_photos(tmp_path / "photos", 110)
    ended = run(tmp_path, server)
    assert ended.code == 2, ended.err
    assert "the model cannot be loaded: KeyError: 'seed'" in ended.err
    assert "--debug" in ended.err
