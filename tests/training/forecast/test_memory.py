"""The memory plan: curves of small passes, what fits, and the peak of a real training."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from captune.hardware import choose_hardware
from captune.training.forecast.allocations import PassMemory, measure_pass
from captune.training.forecast.memory import MemoryPlan

PLAN = MemoryPlan(
    process=100, weights=50, optimizer=100, average=0, gradients=0, features=0, heap_share=2.0,
    # Activations of 10 per image, then a gradient of 30 that stays.
    training=PassMemory(np.array([0.0, 10, 40, 30]), np.array([0.0, 10, 0, 0])),
    encoding=0, validation=20, micro_batch_size=2,
)  # fmt: skip


def test_the_peak_moves_from_gradients_to_activations_as_batches_grow() -> None:
    assert PLAN.training.peak(1) == 40
    assert PLAN.training.peak(4) == 40
    assert PLAN.training.peak(5) == 50


def test_the_peak_adds_state_to_the_larger_of_passes_and_validation() -> None:
    assert PLAN.peak == 100 + 50 + 100 + 2 * 40
    assert replace(PLAN, validation=90).peak == 100 + 50 + 100 + 90
    # Filling the cache comes before the optimizer.
    assert replace(PLAN, encoding=500).peak == 100 + 50 + 500


def test_the_largest_divisor_that_fits_is_proposed() -> None:
    # 250 without a pass; 2 * 10 per image from the fifth image on.
    assert PLAN.largest_fit(450, global_batch_size=24) == 8
    assert PLAN.largest_fit(330, global_batch_size=24) == 4
    assert PLAN.largest_fit(329, global_batch_size=24) == 0


def test_a_pass_is_extrapolated_from_one_and_two_images() -> None:
    hardware = choose_hardware("cpu", "fp32")

    def run(count: int) -> None:
        # Two float32 arrays of 1,000 values per image live together, and one of 5,000 alone.
        first = torch.zeros(count, 1000)
        second = first + 1
        del first, second
        torch.zeros(5000)

    found = measure_pass(run, hardware)
    assert found.peak(1) == 4 * 5000
    # And the 1 of the addition, as 8 bytes and as 4.
    assert found.peak(10) == 4 * 2 * 10_000 + 12


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read as on Linux")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_predicted_peak_is_that_of_the_run_within_15_percent(
    precision: str, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "name: memory\n"
        "data: {path: 'shapes:64', num_workers: 0}\n"
        "model: {size: blip-tiny, image_size: 384}\n"
        "train: {max_steps: 4, micro_batch_size: 16, global_batch_size: 16, trackers: [],"
        f" device: cpu, validate_images: 4, precision: {precision}}}\n"
    )
    command = [sys.executable, "-m", "captune", "run", str(recipe), "--only", "prepare,train"]
    dry = subprocess.run(
        [*command, "--out", str(tmp_path / "dry"), "--dry-run"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    match = re.search(r"memory: about ([\d.]+) (GiB|MiB)", dry.stdout)
    assert match is not None
    predicted = float(match[1]) * (1 if match[2] == "GiB" else 1 / 1024)
    script = (
        "import resource, subprocess, sys;"
        f" subprocess.run({[*command, '--out', str(tmp_path / 'run')]!r}, check=True);"
        " print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert predicted == pytest.approx(float(done.stdout.splitlines()[-1]), rel=0.15)
