"""Numbers of processes that train on devices are summed from host to host."""

from __future__ import annotations

import pytest
import torch

from captune.training.steps.reduce import find_maxima, sum_numbers
from support.runs.ranks import launch_ranks


@pytest.mark.slow
@pytest.mark.parametrize("can_join", ["yes", "no"])
def test_sums_of_processes_do_not_go_through_their_devices_if_all_hosts_can_join(
    can_join: str,
) -> None:
    launch_ranks("reduce_script.py", can_join, processes=2)


def test_one_process_keeps_its_numbers() -> None:
    # A device whose tensors have no values: nothing is computed on it.
    device = torch.device("meta")
    assert sum_numbers([1.5, 2.0**60], device=device) == [1.5, 2.0**60]
    assert find_maxima([3, 1], device=device) == [3, 1]
