"""Weights, sums and maxima shared by processes; with one process, the values are unchanged.

Numbers go from host to host, beside the gradients: through a device, each would wait until the
device has done all its work. float64 is avoided: not every accelerator supports it.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.distributed_c10d import PrefixStore, _get_default_store

GROUP_TIMEOUT = timedelta(minutes=10)
"""How long a process waits within a step for the others, one of which may be gone. While the first
one works alone, they wait through `Team`, as long as it takes."""


def sum_numbers(values: Sequence[float], *, device: torch.device) -> list[float]:
    """Return the sums over all processes, nearly as precise as in float64.

    Args:
        values: Any number of values, the same number in every process.
        device: A device on which the process group can sum.
    """
    if is_alone():
        return list(values)
    group, device = find_channel(device)
    # Each number is sent as two float32 values: the rounded value and the rest.
    high = torch.tensor(values, dtype=torch.float32)
    rest = [value - float(part) for value, part in zip(values, high, strict=True)]
    low = torch.tensor([part if math.isfinite(part) else 0.0 for part in rest])
    sums = torch.stack([high, low]).to(device)
    dist.all_reduce(sums, group=group)
    return [float(first) + float(second) for first, second in sums.T.cpu()]


def find_maxima(values: Sequence[int], *, device: torch.device) -> list[int]:
    """Return the largest value over all processes at each position."""
    if is_alone():
        return list(values)
    group, device = find_channel(device)
    maxima = torch.tensor(values, dtype=torch.int32, device=device)
    dist.all_reduce(maxima, op=dist.ReduceOp.MAX, group=group)
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


def find_channel(device: torch.device) -> tuple[Any, torch.device]:
    """Return a group of all processes, and the device of the tensors that it sums.

    All processes must call this together, at least the first time.

    Args:
        device: A device on which the process group can sum, used where hosts cannot.
    """
    if device.type == "cpu":
        return None, device
    hosts = _join_hosts(dist.group.WORLD)
    return (None, device) if hosts is None else (hosts, torch.device("cpu"))


@lru_cache(maxsize=1)
def _join_hosts(_world: Any) -> Any:
    """Return a group that sums on the hosts; `None`: a process cannot join one."""
    hosts = None
    with contextlib.suppress(RuntimeError, ValueError):
        hosts = dist.new_group(backend="gloo", timeout=GROUP_TIMEOUT)
    # All must use the same group: one that reduces through another waits forever.
    store = PrefixStore("captune/hosts", _get_default_store())
    store.set(str(dist.get_rank()), str(int(hosts is not None)))
    joined = [store.get(str(rank)) for rank in range(dist.get_world_size())]
    return hosts if all(int(answer) for answer in joined) else None


def is_alone() -> bool:
    """Return whether this is the only process."""
    return not dist.is_initialized() or dist.get_world_size() == 1
