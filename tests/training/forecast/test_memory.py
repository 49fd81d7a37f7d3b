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
from support.soak import IS_SOAK, soak

PLAN = MemoryPlan(
    process=100, weights=50, trained=(30, 20), has_average=False, accumulates=False, features=0,
    # Activations of 10 per image, then a gradient of 30 while they are released.
    training=PassMemory(np.array([0, 1, ~0, ~1]), np.array([0.0, 30]), np.array([10.0, 0])),
    encoding=None,
    validation=PassMemory(np.array([0, ~0]), np.array([20.0]), np.array([0.0])),
    micro_batch_size=2, validation_batch_size=8,
)  # fmt: skip


def test_the_peak_of_a_pass_grows_with_its_images() -> None:
    assert PLAN.training.peak(1) == 40
    assert PLAN.training.peak(5) == 80


def test_the_peak_may_move_from_gradients_to_activations_as_batches_grow() -> None:
    # Activations of 10 per image are released before gradients of 30 are allocated.
    moves = PassMemory(np.array([0, ~0, 1, ~1]), np.array([0.0, 30]), np.array([10.0, 0]))
    assert moves.peak(2) == 30
    assert moves.peak(5) == 50


def test_the_peak_adds_state_to_the_larger_of_passes_and_validation() -> None:
    assert PLAN.peak == 100 + 50 + 100 + 50
    large = PassMemory(np.array([0, ~0]), np.array([90.0]), np.array([0.0]))
    assert replace(PLAN, validation=large).peak == 100 + 50 + 100 + 90
    larger = PassMemory(np.array([0, ~0]), np.array([500.0]), np.array([0.0]))
    # Filling the cache comes before the optimizer.
    assert replace(PLAN, encoding=larger).peak == 100 + 50 + 500
    assert replace(PLAN, accumulates=True).peak == 100 + 50 + 100 + 50 + 50
    assert replace(PLAN, has_average=True).peak == 100 + 50 + 100 + 50 + 70


def test_a_process_that_keeps_freed_memory_takes_the_length_of_its_heap() -> None:
    mib = 1 << 20
    # A large block behind which a small one stays, then a larger one that does not fit there.
    fragmented = PassMemory(
        np.array([0, 1, ~0, 2, ~2, ~1]), np.array([4.0 * mib, mib, 5 * mib]), np.zeros(3)
    )
    plan = replace(PLAN, training=fragmented, keeps_freed=True)
    assert plan.training.peak(1) == 6 * mib
    assert plan.peak == pytest.approx(10 * mib, rel=0.01)


def test_gradients_that_are_kept_lie_where_the_first_micro_batch_made_them() -> None:
    mib = 1 << 20
    # A gradient is made between two activations, and keeps their places apart.
    first = PassMemory(
        np.array([0, 1, 2, ~0, ~2]), np.array([3.0 * mib, mib, 3 * mib]), np.zeros(3)
    )
    later = PassMemory(np.array([0, ~0]), np.array([6.0 * mib]), np.zeros(1))
    plan = replace(PLAN, training=later, trained=(), keeps_freed=True)
    assert plan.peak == pytest.approx(6 * mib, rel=0.01)
    assert replace(plan, first=first).peak == pytest.approx(10 * mib, rel=0.01)


def test_the_largest_divisor_that_fits_is_proposed() -> None:
    # 280 without activations, and 10 per image.
    assert PLAN.largest_fit(400, global_batch_size=24) == 12
    assert PLAN.largest_fit(320, global_batch_size=24) == 4
    assert PLAN.largest_fit(289, global_batch_size=24) == 0


def test_a_pass_is_extrapolated_from_two_and_three_images() -> None:
    hardware = choose_hardware("cpu", "fp32")

    def run(count: int) -> None:
        # Two float32 arrays of 1,000 values per image live together, and one of 5,000 alone.
        first = torch.zeros(count, 1000)
        second = first + 1
        del first, second
        torch.zeros(5000)

    found = measure_pass(run, hardware)
    assert found.peak(1) == 4 * 5000
    assert found.peak(10) == 4 * 2 * 10_000


def test_passes_whose_allocations_differ_in_number_grow_by_the_sizes_that_differ() -> None:
    hardware = choose_hardware("cpu", "fp32")

    def run(count: int) -> None:
        # One array of 5,000 values, and one of 1,000 for each image.
        fixed = torch.zeros(5000)
        every = [torch.zeros(1000 * count) for _ in range(count)]
        del fixed, every

    found = measure_pass(run, hardware)
    # Three arrays that grow with the images: those of the larger pass.
    assert found.peak(3) == 4 * (5000 + 3 * 3000)
    assert found.peak(30) == 4 * (5000 + 3 * 30_000)


@pytest.mark.skipif(sys.platform != "linux", reason="the heap is read as on Linux")
@pytest.mark.skipif(not IS_SOAK, reason="its result says nothing yet; make soak runs it")
@pytest.mark.xfail(
    strict=False, reason="not reached yet: real heaps differ by 30 % from run to run (docs/log.md)"
)
@soak
@pytest.mark.slow
def test_the_memory_of_real_passes_is_predicted_within_15_percent() -> None:
    command = [sys.executable, "-c", HEAP_OF_PASSES]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    predicted, real = map(int, done.stdout.split()[-2:])
    assert predicted == pytest.approx(real, rel=0.15)


HEAP_OF_PASSES = """
import torch
from captune.data import make_shapes
from captune.hardware import choose_hardware
from captune.hardware.process_memory import peak_of_process
from captune.models import build_captioner, pack_captions
from captune.records import VisionInputs
from captune.recipe import Recipe
from captune.training.forecast.allocations import measure_pass
from captune.training.forecast.heap import Heap
from captune.training.setup import place_captioner
from dataclasses import replace

IMAGES = 16
torch.set_num_threads(1)
model = {"size": "vit-gpt2-tiny", "image_size": 160}
recipe = Recipe.model_validate({"name": "heap", "data": {"path": "shapes:8"}, "model": model})
captions = [caption for record in make_shapes(8, seed=3) for caption in record.captions]
captioner = build_captioner(recipe.model, captions, seed=1)
hardware = choose_hardware("cpu", "fp32")
place_captioner(captioner, recipe, hardware=hardware)
row = [each.token_ids for each in captioner.caption_encoder().encode_all(captions[:5], 20)]

def run(count):
    captioner.train_mode()
    batch = pack_captions(
        [row] * count, ["image"] * count, pad_token_id=captioner.pad_token_id, prefix_length=1
    )
    pixels = VisionInputs.of_pixels(torch.zeros(count, 3, 160, 160))
    torch.autograd.backward(captioner.loss(replace(batch, vision_inputs=pixels)).loss_sum)
    captioner.model.zero_grad(set_to_none=True)

before = peak_of_process()
# The real heap still grows by a few percent in later passes, and differs from run to run.
for _ in range(8):
    run(IMAGES)
real = peak_of_process()
# Afterwards: the profiler's own objects break up the heap.
measured, heap = measure_pass(run, hardware), Heap()
for _ in range(8):
    measured.place(heap, IMAGES)
print(before + heap.length, real)
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read as on Linux")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_predicted_peak_is_that_of_the_run_within_15_percent(
    precision: str, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "name: memory\n"
        "data: {path: 'shapes:32', num_workers: 0}\n"
        "model: {size: blip-tiny, image_size: 256}\n"
        "train: {max_steps: 2, micro_batch_size: 16, global_batch_size: 16, trackers: [],"
        f" device: cpu, validate_images: 4, precision: {precision}}}\n"
    )
    command = ["run", str(recipe), "--only", "prepare,train"]
    dry = subprocess.run(
        [sys.executable, "-m", "captune", *command, "--out", str(tmp_path / "dry"), "--dry-run"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    match = re.search(r"memory: about ([\d.]+) (GiB|MiB)", dry.stdout)
    assert match is not None
    assert "profiling" not in dry.stderr
    predicted = float(match[1]) * (1 if match[2] == "GiB" else 1 / 1024)
    done = subprocess.run(
        [sys.executable, "-c", PEAK_OF_RUN, *command, "--out", str(tmp_path / "run")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert predicted == pytest.approx(float(done.stdout.splitlines()[-1]), rel=0.15)


# Before the process ends: the libraries of torch for CUDA then read 130 MiB of their own files.
PEAK_OF_RUN = """
import sys
from captune.cli import main
from captune.hardware.process_memory import peak_of_process

try:
    main(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
print(peak_of_process() / 2**30)
"""
