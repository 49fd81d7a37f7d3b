"""Repeated numbers are found as by counting, in memory that stays the same."""

from __future__ import annotations

import random
import tracemalloc
from collections import Counter

import pytest

from captune.bulk.feed.name_clashes import find_repeated


@pytest.mark.parametrize("num_bits", [8, 64, 1 << 27])
def test_repeated_numbers_are_those_that_counting_finds(num_bits, monkeypatch):
    # With few bits, most numbers that differ share one.
    monkeypatch.setattr("captune.bulk.feed.name_clashes._NUM_BITS", num_bits)
    draw = random.Random(num_bits)
    for _ in range(20):
        numbers = [draw.randint(-(2**63), 2**63 - 1) for _ in range(draw.randint(0, 200))]
        numbers += draw.choices(numbers, k=draw.randint(0, 5)) if numbers else []
        draw.shuffle(numbers)
        counted = {number for number, count in Counter(numbers).items() if count > 1}
        assert find_repeated(lambda: iter(numbers)) == counted  # noqa: B023


def test_the_memory_of_many_numbers_is_that_of_few():
    peaks = []
    for count in (1_000, 30_000):
        tracemalloc.start()
        assert find_repeated(lambda: (hash(str(n)) for n in range(count))) == set()  # noqa: B023
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.01 * peaks[0]
