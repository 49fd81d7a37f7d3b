"""Sums and maxima over the processes in a step; with one process these do nothing.

float64 is avoided: not every accelerator supports it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
import torch.distributed as dist
from torch import nn

_BUCKET_NUMBERS = 16 * 2**20
"""Gradients that are summed at once: 64 MiB. All at once would need twice their memory."""


def sum_numbers(values: Sequence[float], *, device: torch.device) -> list[float]:
    """Return the sums over all processes, nearly as precise as in float64.

    Args:
        values: Any number of values, the same number in every process.
        device: A device that the process group can sum on.
    """
    if _is_alone():
        return list(values)
    # Each number as two in float32: the rounded value and the rest.
    high = torch.tensor(values, dtype=torch.float32)
    rest = [value - float(part) for value, part in zip(values, high, strict=True)]
    low = torch.tensor([part if math.isfinite(part) else 0.0 for part in rest])
    sums = torch.stack([high, low]).to(device)
    dist.all_reduce(sums)
    return [float(first) + float(second) for first, second in sums.T.cpu()]


def find_maxima(values: Sequence[int], *, device: torch.device) -> list[int]:
    """Return the largest value over all processes at each position."""
    if _is_alone():
        return list(values)
    maxima = torch.tensor(values, dtype=torch.int32, device=device)
    dist.all_reduce(maxima, op=dist.ReduceOp.MAX)
    return [int(value) for value in maxima.cpu()]


def sum_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Sum gradients over all processes, in place; a missing one counts as zero."""
    if _is_alone():
        return
    for bucket in _buckets(parameters):
        gradients = [_gradient(parameter) for parameter in bucket]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            # In place: fused AdamW on CPU expects a gradient in its weight's memory format.
            gradient.copy_(part.view_as(gradient))


def _is_alone() -> bool:
    return not dist.is_initialized() or dist.get_world_size() == 1


def _gradient(parameter: nn.Parameter) -> torch.Tensor:
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Yield consecutive parameters of one type, cut by size, so the same in every process."""
    bucket: list[nn.Parameter] = []
    for parameter in parameters:
        size = sum(p.numel() for p in bucket) + parameter.numel()
        if bucket and (size > _BUCKET_NUMBERS or parameter.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(parameter)
    if bucket:
        yield bucket
