"""Items that a thread prepares in advance while the caller uses earlier ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")

_AHEAD = 2


def prefetch(items: Iterable[Item], *, ahead: int = _AHEAD) -> Iterator[Item]:
    """Yield the items in order; a thread prepares up to `ahead` of them in advance.

    An error is raised in place of its item. Closing the generator ends the thread after the item
    that it is preparing.
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1, "captune-prefetch") as thread:
        waiting: deque[Future[list[Item]]] = deque()
        try:
            while True:
                while len(waiting) < ahead:
                    waiting.append(thread.submit(_take, iterator))
                found = waiting.popleft().result()
                if not found:
                    return
                yield found[0]
        finally:
            for future in waiting:
                future.cancel()


def _take(iterator: Iterator[Item]) -> list[Item]:
    """Return the next item in a list; an empty one at the end."""
    return list(islice(iterator, 1))
