"""A training by captune's loop in its own process, which is killed or is one of two."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from captune.data import make_shapes
from captune.models import build_captioner
from captune.recipe import Recipe
from captune.training import train


def train_in_process(folder: Path, mode: str, recipe: Recipe) -> None:
    """Train in this process; `mode` is `start` or `resume`."""
    records = list(make_shapes(30, seed=3, image_size=64))
    captions = [c for record in records[:24] for c in record.captions]
    captioner = build_captioner(recipe.model, captions, seed=recipe.seed)
    if recipe.name == "no-dropout":
        for module in captioner.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    train(
        captioner,
        (records[:24], records[24:]),
        recipe=recipe,
        run_folder=folder,
        resume=mode == "resume",
    )


if __name__ == "__main__":
    train_in_process(Path(sys.argv[1]), sys.argv[2], Recipe.model_validate_json(sys.argv[3]))
