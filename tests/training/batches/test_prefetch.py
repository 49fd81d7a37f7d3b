"""A thread prepares items ahead, in order, and errors keep their place."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from captune.training.batches.prefetch import prefetch


def test_items_keep_their_order_and_are_made_ahead_in_another_thread() -> None:
    made: list[int] = []
    third = threading.Event()

    def make() -> Iterator[int]:
        for number in range(5):
            made.append(number)
            if number == 2:
                third.set()
            yield number

    items = prefetch(make(), ahead=2)
    assert next(items) == 0
    assert next(items) == 1
    # The third one is made while the second is in use.
    assert third.wait(20)
    assert [*items] == [2, 3, 4]
    assert made == [0, 1, 2, 3, 4]


def test_an_error_is_raised_where_its_item_would_have_been() -> None:
    def make() -> Iterator[int]:
        yield 1
        raise ValueError("second")

    items = prefetch(make())
    assert next(items) == 1
    with pytest.raises(ValueError, match="second"):
        next(items)


def test_closing_stops_the_thread() -> None:
    items = prefetch(iter(range(1000)), ahead=3)
    assert next(items) == 0
    items.close()  # type: ignore[attr-defined]
    assert not [t for t in threading.enumerate() if t.name.startswith("captune-prefetch")]
