"""Two nodes, simulated on this machine with a launcher each: the results of one process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from captune.recipe import save_recipe
from support.runs.forks import ForkedRun, run_captune
from support.runs.ranks import launch_captune
from support.runs.recipes import recipe
from support.runs.same_weights import assert_same_weights, model_file

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc"),
]

NUM_STEPS = 24

_TORCHRUN = ("-m", "torch.distributed.run")
_ACCELERATE = ("-m", "accelerate.commands.launch")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_node(launcher: list[str], command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *launcher, "-m", "captune", *command.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
    )


def torchrun(command: str) -> list[subprocess.Popen[str]]:
    """Start a command on two nodes, as one process on each."""
    port = free_port()
    return [
        start_node(
            [
                *(*_TORCHRUN, "--nnodes", "2", "--node-rank", str(rank)),
                *("--nproc-per-node", "1"),
                *("--master-addr", "127.0.0.1", "--master-port", str(port)),
            ],
            command,
        )
        for rank in range(2)
    ]


def accelerate(command: str) -> list[subprocess.Popen[str]]:
    port = free_port()
    return [
        start_node(
            [
                *(*_ACCELERATE, "--multi_gpu", "--num_machines", "2", "--num_processes", "2"),
                *("--machine_rank", str(rank), "--mixed_precision", "no"),
                *("--main_process_ip", "127.0.0.1", "--main_process_port", str(port)),
                *("--dynamo_backend", "no", "--num_cpu_threads_per_process", "1"),
            ],
            command,
        )
        for rank in range(2)
    ]


def finish(nodes: Sequence[subprocess.Popen[str] | ForkedRun], *, code: int = 0) -> str:
    outputs = [node.communicate(timeout=400)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [code] * len(nodes), "\n".join(outputs)
    return "\n".join(outputs)


def child_of(process: int) -> int:
    (child,) = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return int(child)


def losses(run: Path) -> list[float]:
    log = run / "log.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    return [row["loss"] for row in map(json.loads, lines) if "loss" in row]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with the recipe, and the run of one process."""
    folder = tmp_path_factory.mktemp("nodes")
    settings = recipe(
        train__epochs=8, train__save_every=3, train__log_every=1, evaluate__baseline=False
    )
    save_recipe(settings, folder / "r.yaml")
    finish([run_captune(train(folder, "one").split(), environment={"OMP_NUM_THREADS": "1"})])
    return folder


def train(folder: Path, name: str) -> str:
    return f"train {folder}/r.yaml --out {folder}/{name}"


@pytest.mark.parametrize("launcher", ["torchrun", "accelerate"])
def test_two_nodes_have_the_losses_and_weights_of_one_process(place: Path, launcher: str) -> None:
    command = train(place, launcher)
    output = finish(torchrun(command) if launcher == "torchrun" else accelerate(command))
    assert "2 share the 12 images of a step: 6, 6" in output
    assert losses(place / launcher) == pytest.approx(losses(place / "one"), rel=1e-5)
    assert len(losses(place / "one")) == NUM_STEPS
    assert_same_weights(model_file(place / launcher), model_file(place / "one"), tolerance=1e-5)


def test_a_killed_node_ends_the_run_and_three_processes_resume_that_of_two(place: Path) -> None:
    nodes = torchrun(train(place, "cut"))
    deadline = time.monotonic() + 300
    while len(losses(place / "cut")) < 8:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    # The process that trains on the second node; its launcher has started it in its own session.
    os.kill(child_of(nodes[1].pid), signal.SIGKILL)
    for node in nodes:
        node.communicate(timeout=400)
        assert node.returncode != 0
    assert list((place / "cut" / "checkpoints").glob("step-*"))
    assert len(losses(place / "cut")) < NUM_STEPS

    words = [*train(place, "cut").split(), "--resume"]
    output = launch_captune(words, processes=3)
    assert "the checkpoint was saved by 2 processes, and 3 resume it" in output
    assert "dropout, if the model has any, draws other numbers" in output
    assert losses(place / "cut") == pytest.approx(losses(place / "one"), rel=1e-5)
    assert len(losses(place / "cut")) == NUM_STEPS
    assert_same_weights(model_file(place / "cut"), model_file(place / "one"), tolerance=1e-5)
