"""A run on a local Ray cluster of two nodes: the outputs of one machine, whatever is killed."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.bulk.hostile_images import write_photos
from support.bulk.kills import CaptuneCommand, Ended, check_journals, finish, read_tree, wait_until
from support.bulk.ray_cluster import TwoNodes, two_nodes
from support.bulk.stub_captioner import Behaviour, poison, write_stub

pytest.importorskip("ray", reason="needs the extra ray")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif("os.name == 'nt'", reason="sessions and SIGKILL"),
]

NUM_PHOTOS = 200


@pytest.fixture(scope="module")
def nodes() -> Iterator[TwoNodes]:
    with two_nodes() as started:
        yield started


def prepare(folder: Path, number: int = NUM_PHOTOS, *, seconds_per_image: float = 0.0) -> Path:
    """A folder with a stub, photos, a broken image, a copy, and one that ends the model."""
    write_stub(folder / "model", behaviour=Behaviour(seconds_per_image=seconds_per_image))
    photos = write_photos(folder / "photos", number)
    (folder / "out").mkdir()
    (folder / "photos" / "broken.png").write_bytes(b"")
    (folder / "photos" / "copy.png").write_bytes(photos[-1].read_bytes())
    poison("crash").save(folder / "photos" / "photo000050b.png")
    return folder


def command(folder: Path, *words: object, nodes: TwoNodes | None = None) -> CaptuneCommand:
    given = ["caption", "model", "photos", "--to", "txt", "--to", "jsonl", "--out", "out"]
    environment = {"CAPTUNE_CACHE": str(folder / "cache")}
    if nodes is not None:
        given += ["--engine", "ray"]
        environment["RAY_ADDRESS"] = nodes.address
    return CaptuneCommand(
        [*given, "--backend", "torch", "--batch-size", 4, *words],
        folder=folder,
        environment=environment,
    )


def results(folder: Path) -> dict[str, bytes | list[bytes]]:
    """The files that a run wrote; rows sorted."""
    found = read_tree(folder, without=(".captune", "model", "cache"))
    return {
        name: sorted(content.splitlines()) if name.endswith(".jsonl") else content
        for name, content in found.items()
    }


def failures(folder: Path) -> list[tuple[str, str]]:
    (listed,) = folder.rglob("failures.jsonl")
    rows = [json.loads(line) for line in listed.read_text().splitlines()]
    return sorted((row["image_id"], row["reason"]) for row in rows)


@pytest.fixture(scope="module")
def local(tmp_path_factory) -> Path:
    folder = prepare(tmp_path_factory.mktemp("local"))
    ended = command(folder).run()
    assert ended.code == 3, ended.err
    return folder


def test_a_cluster_writes_the_same_files_and_failures_as_one_machine(tmp_path, nodes, local):
    folder = prepare(tmp_path)
    ended = command(folder, nodes=nodes).run()
    assert ended.code == 3, ended.err
    assert "2 actors of a Ray cluster" in ended.err
    assert results(folder) == results(local)
    assert failures(folder) == failures(local)
    again = command(folder, nodes=nodes).run()
    assert (again.code, f"{NUM_PHOTOS + 1} already had a caption" in again.err) == (3, True)


def test_six_kills_of_actors_and_of_a_node_lose_and_duplicate_nothing(tmp_path, nodes, local):
    folder = prepare(tmp_path, seconds_per_image=0.1)
    process = command(folder, nodes=nodes).start()
    started = time.monotonic()
    for number in range(6):
        # The first kill hits actors that load; the others hit actors at work.
        wait_for_texts(folder, 15 * number, process)
        if number == 3:
            nodes.kill_a_node()
        else:
            wait_until(nodes.kill_an_actor, process)
    nodes.add_a_node()
    ended = finish(process, started, timeout=240)
    assert ended.code == 3, ended.err
    assert results(folder) == results(local)
    assert failures(folder) == failures(local)
    rows = [json.loads(row) for row in results(folder)["out/captions.jsonl"]]
    assert len({row["image_id"] for row in rows}) == len(rows) == NUM_PHOTOS + 1
    assert check_journals(folder) >= 1


def test_a_killed_run_resumes_on_one_machine(tmp_path, nodes, local):
    folder = prepare(tmp_path, seconds_per_image=0.02)
    process = command(folder, nodes=nodes).start()
    wait_for_texts(folder, 40, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    ended = command(folder).run()
    assert ended.code == 3, ended.err
    assert results(folder) == results(local)


def test_ctrl_c_ends_the_run_and_its_actors_and_the_same_command_resumes(tmp_path, nodes, local):
    folder = prepare(tmp_path, seconds_per_image=0.02)
    process = command(folder, nodes=nodes).start()
    wait_for_texts(folder, 40, process)
    asked = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    ended = finish(process, asked, timeout=60)
    assert ended.code == 130, ended.err
    assert "run the same command again to resume" in ended.err
    assert ended.seconds < 10
    assert not nodes.has_actors(within=10)
    assert command(folder, nodes=nodes).run().code == 3
    assert results(folder) == results(local)


def wait_for_texts(folder: Path, number: int, process: Any) -> None:
    wait_until(lambda: len(list((folder / "photos").glob("*.txt"))) >= number, process)


def refused(ended: Ended, *texts: str) -> None:
    assert ended.code == 2, ended.err
    for text in texts:
        assert text in ended.err


def test_more_actors_than_slots_are_refused_before_anything_is_loaded(tmp_path, nodes):
    folder = prepare(tmp_path, 2)
    ended = command(folder, "--actors", 3, nodes=nodes).run()
    refused(ended, "no room for 3 actors: each needs a CPU, and there are 2", "--actors 2")


def test_a_broken_model_ends_the_run_with_its_own_error(tmp_path, nodes):
    folder = prepare(tmp_path, 2)
    for path in (folder / "photos").iterdir():
        path.unlink()
    for number in range(9):
        image = poison("error")
        image.resize((8 + number, 8)).save(folder / "photos" / f"{number}.png")
    refused(command(folder, "--actors", 1, nodes=nodes).run(), "a kernel of the stub failed")


def test_a_cluster_that_is_gone_is_an_error_that_names_the_address(tmp_path):
    folder = prepare(tmp_path, 2)
    ended = command(folder, "--engine", "ray").run(RAY_ADDRESS="127.0.0.1:1", timeout=120)
    refused(ended, "cannot join the Ray cluster", "RAY_ADDRESS")


def test_a_cluster_that_does_not_answer_ends_the_run(tmp_path, nodes):
    folder = prepare(tmp_path, 30, seconds_per_image=0.5)
    process = command(folder, nodes=nodes).start(CAPTUNE_RAY_SECONDS="15")
    started = time.monotonic()
    wait_for_texts(folder, 1, process)
    stopped = nodes.stop_actors()
    try:
        ended = finish(process, started, timeout=120)
    finally:
        nodes.let_go(stopped)
    refused(ended, "no actor of the Ray cluster has answered for", "the same command resumes")


def test_a_model_that_no_node_can_load_is_an_error_of_the_model(tmp_path, nodes):
    folder = prepare(tmp_path, 3)
    (folder / "model" / "config.json").write_text('{"model_type": "stub"}')
    ended = command(folder, nodes=nodes).run()
    assert ended.code == 2, ended.err
    assert "the model cannot be loaded: KeyError: 'seed'" in ended.err
