"""A signal to all processes of a training: it is saved once and resumes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from captune.recipe import save_recipe
from support.runs import SCRIPTS
from support.runs.forks import run_captune
from support.runs.ranks import launch_ranks
from support.runs.recipes import recipe
from support.runs.same_weights import assert_same_weights, model_file

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.name != "posix", reason="process groups are those of POSIX"),
]


def start(place: Path, *commands: str) -> subprocess.Popen[str]:
    """Run commands of captune in two processes that torchrun starts, in their own group."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", SCRIPTS / "process_runs.py", place, *commands),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def losses(run: Path) -> list[float]:
    log = run / "log.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    return [row["loss"] for row in map(json.loads, lines) if "loss" in row]


def wait_for_losses(run: Path, number: int) -> None:
    deadline = time.monotonic() + 200
    while len(losses(run)) < number:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_sigterm_to_the_group_saves_once_and_the_resumed_run_is_the_same(tmp_path: Path) -> None:
    settings = recipe(
        train__epochs=10, train__save_every=1000, train__log_every=1, evaluate__baseline=False
    )
    save_recipe(settings, tmp_path / "r.yaml")
    command = f"train {tmp_path}/r.yaml --out {tmp_path}"
    group = start(tmp_path, f"{command}/cut")
    wait_for_losses(tmp_path / "cut", 4)
    os.killpg(group.pid, signal.SIGTERM)
    output, _ = group.communicate(timeout=200)
    codes = [json.loads((tmp_path / f"codes-{rank}.json").read_text()) for rank in range(2)]
    assert codes == [[143], [143]], output
    assert output.count("stopped by SIGTERM; resume with: captune train") == 1
    saved = list((tmp_path / "cut" / "checkpoints").glob("step-*"))
    assert len(saved) == 1
    assert saved[0].name == f"step-{len(losses(tmp_path / 'cut')):06d}"

    commands = (f"{command}/cut --resume", f"{command}/whole")
    output = launch_ranks("process_runs.py", tmp_path, *commands, processes=2)
    codes = [json.loads((tmp_path / f"codes-{rank}.json").read_text()) for rank in range(2)]
    assert codes == [[0, 0], [0, 0]], output
    assert "resumed at step" in output
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    assert len(losses(tmp_path / "cut")) == 30
    assert_same_weights(model_file(tmp_path / "cut"), model_file(tmp_path / "whole"))


@pytest.mark.parametrize("engine", ["loop", "trainer"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_reaches_the_data_workers_too_leaves_a_checkpoint(
    tmp_path: Path, engine: str, number: signal.Signals
) -> None:
    settings = recipe(
        train__engine=engine, train__epochs=50, train__save_every=1000, train__log_every=1,
        train__validate_every=1000, data__num_workers=2, data__pixel_store="off",
        evaluate__baseline=False,
    )  # fmt: skip
    save_recipe(settings, tmp_path / "r.yaml")
    group = run_captune(["train", tmp_path / "r.yaml", "--out", tmp_path / "run"])
    wait_for_losses(tmp_path / "run", 4)
    os.killpg(group.pid, number)
    output, _ = group.communicate(timeout=200)
    assert group.returncode == 128 + number, output
    assert "DataLoader" not in output
    (saved,) = (tmp_path / "run" / "checkpoints").glob("step-*")
    assert saved.name == f"step-{len(losses(tmp_path / 'run')):06d}"
