"""The choice of the training engine: the recipe's `train.engine`."""

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
    """Train the captioner and save the best model in `run_folder/model`.

    The folder is locked meanwhile, as by `captune run`.

    Args:
        captioner: With its parts frozen; moved to the device and trained in place.
        records: Training and validation images.
        recipe: Every setting; `train.engine` chooses the engine.
        run_folder: Receives checkpoints/, log.jsonl, tensorboard/ and model/.
        resume: Resume from the newest checkpoint, if there is one.
        say: Called with each progress message.

    Raises:
        DataError: No training image is left, or too many can no longer be read.
        ModelError: An image (loop) or a micro batch (trainer) does not fit into memory, or the
            training diverges.
        OutputError: Another process writes the folder, or the checkpoint to resume from was
            written by the other engine.
        ProcessError: Another process of the training failed.
        RecipeError: A setting that the engine does not support.
    """
    # Plain transformers, too, then decodes every folder saved from here on as this recipe does.
    write_decoding(captioner.model, recipe.generate)
    engine = loop.train_by_loop
    if recipe.train.engine == "trainer":
        # Imported here: Trainer takes a second to load, and most runs do not need it.
        from captune.training.hf import recipe_engine

        engine = recipe_engine.train_by_trainer
    return engine(captioner, records, recipe=recipe, run_folder=run_folder, resume=resume, say=say)


def check_engine(settings: TrainConfig) -> None:
    """Check, before any work, that the engine supports every setting.

    Raises:
        RecipeError: A setting is not supported; the error names what to use.
    """
    refuse_numbered_device(settings.device)
    refuse_split_model()
    if settings.engine == "trainer":
        from captune.training.hf.arguments import check_trainer_settings

        check_trainer_settings(settings)
