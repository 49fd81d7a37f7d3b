"""Processes of a team as threads of one process."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from torch.distributed import HashStore

from captune.training.team import Team


def run_together(work: Callable[[Team], Any], size: int = 3) -> list[Any]:
    """Return the results of the work of each process, by rank."""
    store = HashStore()
    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(work, [Team(rank, size, store) for rank in range(size)]))
