"""Versions, hardware and command of a run, for environment.json and the report."""

from __future__ import annotations

import sys

from captune.evaluation import Fact, command_fact, software_facts
from captune.hardware import choose_hardware
from captune.recipe import Recipe


def describe_environment(recipe: Recipe) -> list[Fact]:
    """Return command, seed, hardware and versions, in the order of the report."""
    hardware = choose_hardware(recipe.train.device, recipe.train.precision)
    return [
        command_fact(sys.argv),
        Fact("Seed", str(recipe.seed)),
        Fact("Hardware", hardware.describe()),
        *software_facts(),
    ]
