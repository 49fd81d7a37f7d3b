"""Calls of fused attention, counted on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional


@contextmanager
def counting_sdpa() -> Iterator[list[tuple[int, ...]]]:
    """Yield a list that gets the query's shape with each call of torch's fused attention."""
    calls: list[tuple[int, ...]] = []
    attend = functional.scaled_dot_product_attention

    def counted(query: torch.Tensor, *others: Any, **settings: Any) -> torch.Tensor:
        calls.append(tuple(query.shape))
        return attend(query, *others, **settings)

    functional.scaled_dot_product_attention = counted
    try:
        yield calls
    finally:
        functional.scaled_dot_product_attention = attend
