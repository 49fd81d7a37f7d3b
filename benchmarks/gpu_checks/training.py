"""Run short trainings on the device in all precisions and engines, and count waits."""

from __future__ import annotations

import json
import math
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from captune.models import Captioner, build_captioner
from captune.recipe import Recipe
from captune.training import train
from gpu_checks.setting import Line, Setting, first_line, make_recipe, make_records, verdict

WAIT = "called a synchronizing"


def check_training(setting: Setting) -> Iterator[Line]:
    """Compare the loss after a few steps in each precision and engine, all in this process."""
    jobs = [("loop", precision) for precision in setting.precisions]
    jobs += [("trainer", precision) for precision in ([] if setting.quick else ["fp16", "fp32"])]
    jobs = [(engine, precision) for engine, precision in jobs if precision in setting.precisions]
    expected = None
    for engine, precision in jobs:
        name = f"training.{engine}.{precision}"
        recipe = make_recipe(setting, engine=engine, precision=precision)
        try:
            rows = run(recipe, setting.folder / name)
        except (RuntimeError, ValueError, TypeError, AttributeError) as error:
            yield Line(name, "FAIL", f"{type(error).__name__}: {first_line(error)}")
            continue
        loss = rows[-1]["loss"]
        expected = loss if expected is None else expected
        close = math.isfinite(loss) and abs(loss - expected) < 0.05 * expected
        yield Line(name, verdict(close), f"last loss {loss:.4f}, loop in fp32 {expected:.4f}")


def run(recipe: Recipe, folder: Path, *, resume: bool = False, images: int = 24) -> list[Any]:
    """Train, and return the steps in the log."""
    train_on(new_captioner(recipe, images), recipe, folder, resume=resume, images=images)
    log = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [row for row in map(json.loads, log) if "loss" in row]


def new_captioner(recipe: Recipe, images: int) -> Captioner:
    captions = (caption for record in make_records(images) for caption in record.captions)
    return build_captioner(recipe.model, captions, seed=recipe.seed)


def train_on(
    captioner: Captioner, recipe: Recipe, folder: Path, *, resume: bool = False, images: int = 24
) -> list[str]:
    """Train on drawn shapes, an eighth of them for validation; return the progress messages."""
    records, messages = make_records(images), list[str]()
    held = max(2, images // 8)
    train(
        captioner,
        (records[held:], records[:held]),
        recipe=recipe,
        run_folder=folder,
        resume=resume,
        say=messages.append,
    )
    return messages


def check_waits(setting: Setting) -> Iterator[Line]:
    """Count how often the CPU waits for the device in a step of the loop.

    The count is the difference between a longer and a shorter run, so that validations and the end
    do not count.
    """
    if setting.device.type != "cuda":
        yield Line("waits.step", "SKIP", "torch counts waits on CUDA only")
        return
    counts = []
    rare = {"epochs": 8, "validate_every": 100, "save_every": 100}
    for steps in (4, 12):
        recipe = make_recipe(setting, **rare, max_steps=steps)
        counts.append(count_waits(recipe, setting.folder / str(steps)))
    more = counts[1] - counts[0]
    places = ", ".join(f"{place} {count / 8:g}" for place, count in more.most_common(6))
    per_step = sum(more.values()) / 8
    # The loop waits once; copies from memory that is not pinned may wait too.
    yield Line("waits.step", verdict(per_step <= 20), f"{per_step:g} per step: {places}")


def count_waits(recipe: Recipe, folder: Path) -> Counter[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            run(recipe, folder)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return Counter(
        f"{'/'.join(Path(warning.filename).parts[-2:])}:{warning.lineno}"
        for warning in caught
        if WAIT in str(warning.message)
    )
