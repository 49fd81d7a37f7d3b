"""Who takes the optimizer steps: the recipe's `train.engine`."""

from __future__ import annotations

from pathlib import Path

from captune.hardware import refuse_numbered_device
from captune.models import Captioner, write_decoding
from captune.progress import Say, print_line
from captune.recipe import Recipe, TrainConfig
from captune.training import loop
from captune.training.launchers import refuse_split_model
from captune.training.setup import Splits, TrainResult


def train(
    captioner: Captioner,
    records: Splits,
    *,
    recipe: Recipe,
    run_folder: Path,
    resume: bool = False,
    say: Say = print_line,
) -> TrainResult:
    """Trains the captioner and leaves the best model in `run_folder/model`.

    Args:
        captioner: With its parts frozen; moved to the device and trained in place.
        records: Training and validation images.
        recipe: Every setting; `train.engine` chooses the engine.
        run_folder: Takes checkpoints/, log.jsonl, tensorboard/ and model/.
        resume: Go on from the newest checkpoint, where there is one.
        say: Takes lines for people.

    Raises:
        DataError: No training image is left.
        ModelError: An image (loop) or a micro batch (trainer) does not fit into memory.
        OutputError: The other engine wrote the checkpoint to resume from.
        RecipeError: A setting that the engine does not follow.
    """
    # Every folder that is saved from here on is decoded as this recipe decodes, by plain
    # transformers too.
    write_decoding(captioner.model, recipe.generate)
    engine = loop.train_by_loop
    if recipe.train.engine == "trainer":
        # Imported here: Trainer takes a second, and most runs do without.
        from captune.training.hf import recipe_engine

        engine = recipe_engine.train_by_trainer
    return engine(captioner, records, recipe=recipe, run_folder=run_folder, resume=resume, say=say)


def check_engine(settings: TrainConfig) -> None:
    """Stop before any work where the engine does not follow a setting.

    Raises:
        RecipeError: Names the setting, and what to use.
    """
    refuse_numbered_device(settings.device)
    refuse_split_model()
    if settings.engine == "trainer":
        from captune.training.hf import recipe_engine

        recipe_engine.check_trainer_settings(settings)
