"""Weights, sums and maxima shared by processes; with one process, the values are unchanged.

float64 is avoided: not every accelerator supports it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import nn


def sum_numbers(values: Sequence[float], *, device: torch.device) -> list[float]:
    """Return the sums over all processes, nearly as precise as in float64.

    Args:
        values: Any number of values, the same number in every process.
        device: A device on which the process group can sum.
    """
    if is_alone():
        return list(values)
    # Each number is sent as two float32 values: the rounded value and the rest.
    high = torch.tensor(values, dtype=torch.float32)
    rest = [value - float(part) for value, part in zip(values, high, strict=True)]
    low = torch.tensor([part if math.isfinite(part) else 0.0 for part in rest])
    sums = torch.stack([high, low]).to(device)
    dist.all_reduce(sums)
    return [float(first) + float(second) for first, second in sums.T.cpu()]


def find_maxima(values: Sequence[int], *, device: torch.device) -> list[int]:
    """Return the largest value over all processes at each position."""
    if is_alone():
        return list(values)
    maxima = torch.tensor(values, dtype=torch.int32, device=device)
    dist.all_reduce(maxima, op=dist.ReduceOp.MAX)
    return [int(value) for value in maxima.cpu()]


@torch.no_grad()
def share_weights(model: nn.Module) -> None:
    """Give every process the first one's weights and running statistics.

    Random weights of one seed may differ by processor or torch version, and a script may build
    models without a seed: the processes would train different models, and never know.
    """
    if is_alone():
        return
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            # Groups refuse tensors in another memory format.
            dense = tensor.contiguous()
            dist.broadcast(dense, src=0)
            tensor.copy_(dense)


def is_alone() -> bool:
    """Return whether this is the only process."""
    return not dist.is_initialized() or dist.get_world_size() == 1
