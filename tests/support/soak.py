"""How often a harness runs: a few times in `make test`, its full count in `make soak`."""

from __future__ import annotations

import os

import pytest

IS_SOAK = bool(os.environ.get("CAPTUNE_SOAK"))
FIRST_SEED = int(os.environ.get("CAPTUNE_SEED", "0"))
"""Added to every seed of a harness, so that a second soak tries other inputs."""

soak = pytest.mark.soak
"""Mark of the tests that have a full count."""


def count(small: int, *, full: int) -> int:
    """Return how often a harness runs here."""
    return full if IS_SOAK else small
