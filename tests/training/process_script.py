"""Two trainings that one process and several must end alike: a recipe's, and a script's own.

Run as two processes, each takes its share; imported, one process does it all.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
from accelerate.state import AcceleratorState
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


def meet(port: str) -> None:
    """Forgets the group of an earlier training; the next one meets at this port."""
    AcceleratorState._reset_state(reset_partial_state=True)
    os.environ["MASTER_PORT"] = port


if __name__ == "__main__":
    place, settings, ports = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    meet(ports[0])
    train_recipe(Recipe.model_validate_json(settings), place / "recipe")
    meet(ports[1])
    number = int(os.environ["WORLD_SIZE"])
    train_script(Recipe.model_validate_json(settings), place / "script", processes=number)
