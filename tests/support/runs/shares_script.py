"""Trainings shared by several processes: their images, and one that runs out of memory."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from captune.data import make_shapes
from captune.errors import ModelError
from captune.models import Captioner
from captune.recipe import Recipe, TrainConfig
from captune.training import train
from captune.training.batches.feeding import REHEARSED
from support.runs.process_script import build

RANK = int(os.environ.get("RANK", "0"))
OUT_OF_MEMORY = {
    "rank-1-second-step": (2, 1, [4]),
    "rank-0-last-pass": (2, 0, [2]),
    "rank-2-first-pass": (2, 2, [1]),
    "rank-1-twice": (8, 1, [1, 2]),
}
"""Training -> micro batch size, the rank that runs out of memory, and the passes where it does."""


def with_train(recipe: Recipe, **settings: object) -> Recipe:
    """Return the recipe with other settings in `train`."""
    settings = {**recipe.train.model_dump(), **settings}
    return recipe.model_copy(update={"train": TrainConfig(**settings)})


def train_counting(
    recipe: Recipe,
    folder: Path,
    *,
    before_pass: Callable[[int], None] = lambda _: None,
    own_weights: bool = False,
) -> list[int]:
    """Train without dropout, and return the images of each training pass of this process.

    With `own_weights`, all processes but the first begin with other weights.
    """
    records = list(make_shapes(30, seed=3, image_size=64))
    captioner = build(recipe)
    if own_weights and RANK:
        with torch.no_grad():
            for weight in captioner.model.parameters():
                weight.add_(0.01 * RANK)
    counts = count_passes(captioner, before_pass)
    lines: list[str] = []
    train(
        captioner,
        (records[:24], records[24:]),
        recipe=recipe,
        run_folder=folder,
        say=lines.append,
    )
    (folder / f"rank-{RANK}.json").write_text(json.dumps({"counts": counts, "lines": lines}))
    return counts


def count_passes(captioner: Captioner, before_pass: Callable[[int], None]) -> list[int]:
    """Count the real images of each training pass; `before_pass` gets the pass's number."""
    counts: list[int] = []
    real = captioner.loss

    def loss(batch: Any, *others: Any) -> Any:
        if captioner.model.training and REHEARSED not in batch.image_ids:
            counts.append(sum(image_id != "" for image_id in batch.image_ids))
            before_pass(len(counts))
        return real(batch, *others)

    captioner.loss = loss  # type: ignore[method-assign]
    return counts


def run_out_of_memory(rank: int, *passes: int) -> Callable[[int], None]:
    """Return a function that runs out of memory in some passes of one rank."""

    def before_pass(number: int) -> None:
        if rank == RANK and number in passes:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    return before_pass


def main(place: Path, recipe: Recipe) -> None:
    """Do all trainings, one after the other, in one process group."""
    for engine in ("loop", "trainer"):
        train_counting(with_train(recipe, engine=engine), place / engine)
    train_counting(recipe, place / "unlike", own_weights=True)
    small = with_train(recipe, micro_batch_size=2)
    for name, (size, rank, passes) in OUT_OF_MEMORY.items():
        train_counting(
            with_train(recipe, micro_batch_size=size),
            place / name,
            before_pass=run_out_of_memory(rank, *passes),
        )
    always = run_out_of_memory(1, *range(100))
    try:
        train_counting(small, place / "always", before_pass=always)
    except ModelError as error:
        (place / f"always-{RANK}.txt").write_text(str(error))
    # More processes than images in a step.
    two = with_train(recipe, micro_batch_size=1, global_batch_size=2, max_steps=2)
    train_counting(two, place / "idle")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Recipe.model_validate_json(sys.argv[2]))
