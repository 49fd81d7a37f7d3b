"""How often a harness runs: a few times in `make test`, its full count in `make soak`.

`CAPTUNE_SOAK_SECONDS=600 make soak` runs the loops of `rounds` for a time instead of a count.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from itertools import count as endless

import pytest

IS_SOAK = bool(os.environ.get("CAPTUNE_SOAK"))
FIRST_SEED = int(os.environ.get("CAPTUNE_SEED", "0"))
"""Added to every seed of a harness, so that a second soak tries other inputs."""

SECONDS = float(os.environ.get("CAPTUNE_SOAK_SECONDS", "0"))
"""How long the loops of `rounds` last in a soak, instead of their count; 0 is their count."""

soak = pytest.mark.soak
"""Mark of the tests that have a full count."""


def count(small: int, *, full: int) -> int:
    """Return how often a harness runs here."""
    return full if IS_SOAK else small


def rounds(small: int, *, full: int, share: int = 1) -> Iterator[int]:
    """Yield the numbers of a harness's rounds, and print at the end how many there were.

    Args:
        small: Rounds outside a soak.
        full: Rounds of a soak without a time.
        share: Tests that divide the time of a soak.
    """
    began = time.monotonic()
    done = 0
    for number in endless() if IS_SOAK and SECONDS else range(count(small, full=full)):
        if IS_SOAK and SECONDS and time.monotonic() - began > SECONDS / share:
            break
        yield number
        done = number + 1
    sys.stdout.write(f"{done} rounds in {time.monotonic() - began:.0f} s\n")
