"""Sums of gradients over processes, in buckets that are sent while the backward pass still runs.

Gradients become ready from the last layer to the first, so the buckets have that order. Every
process always sends the same buckets in the same order: one without images or out of memory sends
zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from captune.training.steps.reduce import is_alone

_BUCKET_NUMBERS = 16 * 2**20
"""Gradient values per bucket: 64 MiB in float32. One bucket for all would double their memory."""


class GradientSum:
    """The sum of one optimizer step's gradients; with one process it does nothing.

    Args:
        parameters: The trained weights, in the same order in every process.
        bucket_numbers: Maximum number of values per bucket.
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], *, bucket_numbers: int = _BUCKET_NUMBERS
    ) -> None:
        self._parameters = parameters
        self._buckets: list[list[int]] = []
        if not is_alone():
            self._buckets = _cut(parameters, bucket_numbers)
        self._missing = [len(own) for own in self._buckets]
        self._had_gradient = [False] * len(parameters)
        self._sent: list[Any] = []

    @contextmanager
    def during_backward(self) -> Iterator[None]:
        """Send buckets while the block runs the backward pass of the step's last micro batch.

        A bucket with a weight that gets no gradient in this pass waits for `finish`, and so do the
        buckets after it.
        """
        hooks = [
            self._parameters[place].register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
                self._hook(number)
            )
            for number, bucket in enumerate(self._buckets)
            for place in bucket
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def finish(self) -> list[bool]:
        """Send the remaining buckets and wait for all sums; missing gradients count as zero.

        Returns:
            For each parameter, whether this process had a gradient of it.
        """
        if not self._buckets:
            return [parameter.grad is not None for parameter in self._parameters]
        while len(self._sent) < len(self._buckets):
            self._send()
        for sent in self._sent:
            sent.wait()
        return self._had_gradient

    def _hook(self, number: int) -> Callable[[torch.Tensor], None]:
        def count(_: torch.Tensor) -> None:
            self._missing[number] -= 1
            while len(self._sent) < len(self._buckets) and not self._missing[len(self._sent)]:
                self._send()

        return count

    def _send(self) -> None:
        """Copy the next bucket's gradients into one tensor, and replace them by views of it.

        So nothing is copied back, and the memory of the original gradients is freed.
        """
        bucket = self._buckets[len(self._sent)]
        weights = [self._parameters[place] for place in bucket]
        flat = torch.zeros(
            sum(weight.numel() for weight in weights),
            dtype=weights[0].dtype,
            device=weights[0].device,
        )
        parts = torch.split(flat, [weight.numel() for weight in weights])
        for place, weight, part in zip(bucket, weights, parts, strict=True):
            self._had_gradient[place] = weight.grad is not None
            # Fused AdamW on CPU expects a gradient in its weight's memory format.
            strides = torch.empty_like(weight, device="meta").stride()
            view = part.as_strided(weight.shape, strides, part.storage_offset())
            if weight.grad is not None:
                view.copy_(weight.grad)
            weight.grad = view
        self._sent.append(dist.all_reduce(flat, async_op=True))


def _cut(parameters: Sequence[nn.Parameter], bucket_numbers: int) -> list[list[int]]:
    """Return buckets of parameter indices: consecutive ones of one dtype, last first, by size."""
    buckets: list[list[int]] = []
    size = 0
    for place in reversed(range(len(parameters))):
        parameter = parameters[place]
        size += parameter.numel()
        is_same = bool(buckets) and parameter.dtype == parameters[buckets[-1][0]].dtype
        if not is_same or size > bucket_numbers:
            buckets.append([])
            size = parameter.numel()
        buckets[-1].append(place)
    return buckets
