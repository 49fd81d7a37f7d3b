"""Two trainings that one process and several must end alike: a recipe's, and a script's own.

Run by torch's launcher, each process takes its share; imported, one process does it all.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
from trainer_script import arguments, history

from captune.data import make_shapes
from captune.models import Captioner, build_captioner
from captune.recipe import Recipe
from captune.training import CaptionTrainer, caption_metrics, train


def build(recipe: Recipe) -> Captioner:
    """The recipe's captioner; without dropout, which processes draw apart."""
    captions = [c for r in make_shapes(30, seed=3, image_size=64)[:24] for c in r.captions]
    captioner = build_captioner(recipe.model, captions, seed=recipe.seed)
    for module in captioner.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return captioner


def train_recipe(recipe: Recipe, folder: Path) -> None:
    """The recipe's run."""
    records = list(make_shapes(30, seed=3, image_size=64))
    splits = (records[:24], records[24:])
    train(build(recipe), splits, recipe=recipe, run_folder=folder, say=lambda _: None)


def train_script(recipe: Recipe, folder: Path, *, processes: int) -> None:
    """A CaptionTrainer's; eight images a step, five to evaluate: the shares are uneven."""
    records = list(make_shapes(21, seed=4, image_size=64))
    args = arguments(
        folder,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=4 // processes,
        per_device_eval_batch_size=2,
        generation_max_length=8,
        # AdamW would blow up the rounding errors of gradients that are nearly zero.
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


if __name__ == "__main__":
    place, settings = Path(sys.argv[1]), Recipe.model_validate_json(sys.argv[2])
    train_recipe(settings, place / "recipe")
    train_script(settings, place / "script", processes=int(os.environ["WORLD_SIZE"]))
