"""Sum numbers over processes that train on devices, and compare with plain sums.

reduce_script.py yes|no: whether all hosts can join a group.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
import torch.distributed as dist

from captune.training.steps.reduce import find_channel, find_maxima, sum_numbers

# No process has a device; its tensors cannot be summed, so that sums through it would fail.
DEVICE = torch.device("meta")


def main(can_join: bool) -> None:
    """Compare on each rank."""
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    new_group = dist.new_group

    def refuse_one(**settings: Any) -> Any:
        group = new_group(**settings)
        if rank == 1:
            raise RuntimeError("no network between hosts")
        return group

    if not can_join:
        dist.new_group = refuse_one
    group, device = find_channel(DEVICE)
    assert device == torch.device("cpu" if can_join else "meta"), device
    assert (group is not None) == can_join
    # One group for all calls: another would have to be joined by all processes.
    assert find_channel(DEVICE)[0] is group
    if can_join:
        sums = sum_numbers([1.0 + rank, 2.0**40 + 1.0], device=DEVICE)
        assert sums == [sum(1.0 + r for r in range(world)), world * (2.0**40 + 1.0)], sums
        assert find_maxima([rank, 5 - rank], device=DEVICE) == [world - 1, 5]
    assert find_channel(torch.device("cpu")) == (None, torch.device("cpu"))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1] == "yes")
