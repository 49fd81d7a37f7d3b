"""Check that a resumed training ends with the weights of an uninterrupted one, bit for bit."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file

from captune.recipe import Recipe
from gpu_checks.setting import Line, Setting, Status, make_recipe
from gpu_checks.training import run

ENGINES = ("loop", "trainer")


def check_resuming(setting: Setting) -> Iterator[Line]:
    for engine in ENGINES[:1] if setting.quick else ENGINES:
        # GPT-2 has dropout, so the device's random states must be restored.
        recipe = make_recipe(setting, engine=engine, save_every=1, keep_checkpoints=99)
        folder = setting.folder / engine
        try:
            with same_order_of_sums(strict=True):
                yield compare_runs(recipe, folder / "strict")
        except RuntimeError as error:
            if "deterministic" not in str(error):
                raise
            # An operation has no deterministic form: be as deterministic as the device can.
            with same_order_of_sums(strict=False):
                yield compare_runs(recipe, folder / "loose")


def compare_runs(recipe: Recipe, folder: Path) -> Line:
    """Compare a run with a copy of it that is resumed from the middle."""
    whole, parted = folder / "whole", folder / "parted"
    run(recipe, whole)
    shutil.copytree(whole, parted)
    steps = sorted((parted / "checkpoints").iterdir())
    for checkpoint in steps[len(steps) // 2 :]:
        shutil.rmtree(checkpoint)
    run(recipe, parted, resume=True)
    resumed = largest_difference(whole, parted)
    status: Status = "PASS"
    figure = f"largest difference of a weight {resumed:.1e}"
    if resumed:
        run(recipe, folder / "again")
        twice = largest_difference(whole, folder / "again")
        # If two uninterrupted runs differ, the order of the device's sums differs each time.
        status = "SKIP" if twice else "FAIL"
        figure += f"; between two uninterrupted runs {twice:.1e}"
    return Line(f"resume.{recipe.train.engine}", status, figure)


def largest_difference(one: Path, other: Path) -> float:
    ours, theirs = (load_file(folder / "model" / "model.safetensors") for folder in (one, other))
    return max(float((ours[name].double() - theirs[name].double()).abs().max()) for name in ours)


@contextmanager
def same_order_of_sums(*, strict: bool) -> Iterator[None]:
    torch.use_deterministic_algorithms(True, warn_only=not strict)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)
