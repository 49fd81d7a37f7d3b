"""Trainings that must reach the same result: in one process or several, with or without resuming.

Run as two processes, each trains on its share; imported, one process does all the work.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from captune.data import make_shapes
from captune.errors import CaptuneError
from captune.models import Captioner, build_captioner
from captune.recipe import Recipe, TrainConfig
from captune.training import CaptionTrainer, caption_metrics, train
from captune.training.batches.features import build_feature_cache
from captune.training.batches.feeding import REHEARSED
from captune.training.setup import make_accelerator
from captune.training.team import join_team
from support.runs.trainer_script import arguments, history


def build(recipe: Recipe, *, dropout: float = 0.0) -> Captioner:
    """Build the recipe's captioner, without dropout, as each process draws its own."""
    captions = [c for r in make_shapes(30, seed=3, image_size=64)[:24] for c in r.captions]
    captioner = build_captioner(recipe.model, captions, seed=recipe.seed)
    for module in captioner.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
    return captioner


def train_recipe(
    recipe: Recipe,
    folder: Path,
    *,
    dropout: float = 0.0,
    resume: bool = False,
    change: Callable[[Captioner], None] = lambda _: None,
    place: Path | None = None,
) -> None:
    """Train the recipe; `change` gets the captioner before.

    Images for training are in memory, or in the folder `place`, if it is given.
    """
    records = list(make_shapes(30, seed=3, image_size=64))
    if place is not None:
        records[:24] = [replace(r, image=place / r.image_id) for r in records[:24]]
    captioner = build(recipe, dropout=dropout)
    change(captioner)
    train(
        captioner,
        (records[:24], records[24:]),
        recipe=recipe,
        run_folder=folder,
        resume=resume,
        say=lambda _: None,
    )


def train_script(recipe: Recipe, folder: Path, *, processes: int) -> None:
    """Train by a CaptionTrainer: eight images per step, five to evaluate, so uneven shares."""
    records = list(make_shapes(21, seed=4, image_size=64))
    args = arguments(
        folder,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=4 // processes,
        per_device_eval_batch_size=2,
        generation_max_length=8,
        # AdamW would amplify the rounding errors of gradients that are nearly zero.
        optim="sgd",
        learning_rate=0.05,
    )
    trainer = CaptionTrainer(
        build(recipe),
        args,
        train_dataset=records[:16],
        eval_dataset=records[16:],
        compute_metrics=caption_metrics("cider", "bleu_4"),
    )
    trainer.train()
    metrics = trainer.evaluate()
    predictions = trainer.predict(records[16:]).predictions
    trainer.save_model(str(folder / "model"))
    if trainer.is_world_process_zero():
        kept = {name: metrics[f"eval_{name}"] for name in ("loss", "cider", "bleu_4")}
        found = {**kept, "losses": history(trainer, "loss"), "predictions": predictions}
        (folder / "found.json").write_text(json.dumps(found))


def cache_features(recipe: Recipe, folder: Path) -> None:
    """Cache seven images in three views, with their indices as features; two rows per batch."""
    make_accelerator(recipe, folder)
    team = join_team()
    asked: list[tuple[int, int]] = []

    def encode(pairs: Sequence[tuple[int, int]]) -> Iterator[torch.Tensor]:
        for at in range(0, len(pairs), 2):
            asked.extend(pairs[at : at + 2])
            yield torch.tensor(pairs[at : at + 2], dtype=torch.float32)

    for _ in range(2):  # the second time the file exists
        cache = build_feature_cache(
            encode, num_images=7, num_views=3, file=folder / "x.npy", team=team
        )
    found = {"asked": asked, "array": cache.array.tolist()}
    (folder / f"asked-{team.rank}.json").write_text(json.dumps(found))


def main(place: Path, recipe: Recipe) -> None:
    """Do this process's share of all trainings, one after the other, in one process group."""
    train_recipe(recipe, place / "recipe")
    cache_features(recipe, place / "features")
    train_script(recipe, place / "script", processes=int(os.environ["WORLD_SIZE"]))
    train_recipe(frozen(recipe), place / "frozen")
    for engine in ("loop", "trainer"):
        settings = {"engine": engine, "max_steps": 4, "save_every": 2, "validate_every": 4}
        settings = recipe.train.model_dump() | settings | {"best_metric": "loss"}
        short = recipe.model_copy(update={"train": TrainConfig(**settings)})
        whole, again = place / engine / "whole", place / engine / "again"
        train_recipe(short, whole, dropout=0.2)
        if os.environ["RANK"] == "0":
            copy_until_first_checkpoint(whole, again)
        while not again.exists():
            time.sleep(0.05)
        train_recipe(short, again, dropout=0.2, resume=True)
        fail_once(short, place / engine / "failed")
        lose_images_once(short, place / engine / "lost")


def fail_once(recipe: Recipe, folder: Path) -> None:
    """Train until a validation fails in the second process only, then resume."""
    settings = {**recipe.train.model_dump(), "save_every": 4, "validate_every": 2}
    # A batch of validation images for each process, and one more.
    evaluate = recipe.evaluate.model_copy(update={"batch_size": 2})
    recipe = recipe.model_copy(update={"train": TrainConfig(**settings), "evaluate": evaluate})
    with noting_error(folder):
        train_recipe(recipe, folder, dropout=0.2, change=fail_validation_of_rank_1)
    train_recipe(recipe, folder, dropout=0.2, resume=True)


def lose_images_once(recipe: Recipe, folder: Path) -> None:
    """Train until the images of the second process are gone after a step, then resume."""
    rank = os.environ["RANK"]
    disk, unmounted = folder.with_name(f"disk-{rank}"), folder.with_name(f"unmounted-{rank}")
    unmounted.mkdir(parents=True)
    for record in list(make_shapes(30, seed=3, image_size=64))[:24]:
        (unmounted / record.image_id).write_bytes(record.image)
    unmounted.rename(disk)
    settings = {**recipe.train.model_dump(), "save_every": 4}
    data = recipe.data.model_copy(update={"pixel_store": "off", "num_workers": 0})
    recipe = recipe.model_copy(update={"train": TrainConfig(**settings), "data": data})

    def unmount_in_the_first_step(captioner: Captioner) -> None:
        real = captioner.loss

        def loss(batch: Any, *others: Any) -> Any:
            if rank == "1" and captioner.model.training and REHEARSED not in batch.image_ids:
                disk.rename(unmounted)
            return real(batch, *others)

        captioner.loss = loss  # type: ignore[method-assign]

    with noting_error(folder):
        train_recipe(recipe, folder, dropout=0.2, change=unmount_in_the_first_step, place=disk)
    if rank == "1":
        unmounted.rename(disk)
    train_recipe(recipe, folder, dropout=0.2, resume=True, place=disk)


@contextmanager
def noting_error(folder: Path) -> Iterator[None]:
    """Write the error of a training, and the checkpoints that it left, as a file of its run."""
    try:
        yield
    except CaptuneError as error:
        left = sorted(path.name for path in (folder / "checkpoints").glob("step-*"))
        rank = os.environ["RANK"]
        (folder / f"error-{rank}.json").write_text(json.dumps({"error": error.what, "left": left}))


def fail_validation_of_rank_1(captioner: Captioner) -> None:
    """Let the loss of a validation run out of memory in the second process."""
    real = captioner.loss

    def loss(batch: Any, *others: Any) -> Any:
        if os.environ["RANK"] == "1" and not captioner.model.training:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(batch, *others)

    captioner.loss = loss  # type: ignore[method-assign]


def frozen(recipe: Recipe) -> Recipe:
    """Return the recipe with a frozen vision encoder, cached features, and captune's loop."""
    model = recipe.model.model_copy(update={"freeze": ("vision",)})
    train = recipe.train.model_copy(update={"engine": "loop", "feature_cache": "disk"})
    return recipe.model_copy(update={"model": model, "train": train})


def copy_until_first_checkpoint(whole: Path, again: Path) -> None:
    """Create, by a rename, the folder that a kill after step 2 would have left."""
    temporary = again.with_name("temporary")
    first = Path("checkpoints") / "step-000002"
    shutil.copytree(whole / first, temporary / first)
    shutil.copy(whole / "log.jsonl", temporary)
    temporary.rename(again)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Recipe.model_validate_json(sys.argv[2]))
