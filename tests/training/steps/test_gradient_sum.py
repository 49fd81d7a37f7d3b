"""Gradients summed while the backward pass runs equal those of one process."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from captune.training.steps.gradient_sum import GradientSum, _cut
from support.runs.ranks import launch_ranks


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
def test_sums_equal_the_gradients_of_one_process_and_start_during_the_backward_pass(
    processes: int, tmp_path: Path
) -> None:
    # Tied and unused weights, uneven numbers of micro batches, a rank without images.
    launch_ranks("gradient_sum_script.py", tmp_path, processes=processes)
    # Only on rank 0 has the weight before the norm a gradient, and elsewhere the rest waits for it.
    sent = [int((tmp_path / f"sent-{rank}.txt").read_text()) for rank in range(processes)]
    assert sent[0] > 2
    assert all(number == 1 for number in sent[1:])


def test_buckets_go_from_the_last_weight_to_the_first_and_hold_one_dtype() -> None:
    sizes = (5, 3, 30, 1, 2)
    weights = [torch.nn.Parameter(torch.zeros(size)) for size in sizes]
    weights.insert(3, torch.nn.Parameter(torch.zeros(4, dtype=torch.float64)))
    assert _cut(weights, 8) == [[5, 4], [3], [2], [1, 0]]


def test_one_process_keeps_its_gradients_unchanged() -> None:
    weights = [torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))]
    sums = GradientSum(weights)
    with sums.during_backward():
        (3 * weights[0]).sum().backward()
    own = weights[0].grad
    assert sums.finish() == [True, False]
    assert weights[0].grad is own
    assert weights[1].grad is None
