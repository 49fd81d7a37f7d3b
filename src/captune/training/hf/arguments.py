"""`TrainingArguments`: those of a script, changed only where captions need it, and a recipe's."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from transformers import GenerationConfig, Seq2SeqTrainer, Seq2SeqTrainingArguments

from captune.errors import RecipeError
from captune.hardware import VISIBLE_DEVICES, choose_hardware
from captune.inference import DecodingOptions, decoding_config
from captune.metrics import is_lower_better
from captune.recipe import GenerateConfig, Recipe, TrainConfig
from captune.training.launchers import refuse_split_arguments, refuse_split_model
from captune.training.steps.reduce import GROUP_TIMEOUT

_log = logging.getLogger("captune.training")

_NOT_DECODING = frozenset(
    (
        *("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id"),
        *("use_cache", "transformers_version", "max_length", "_from_model_config"),
    )
)
"""Fields of a GenerationConfig that captune does not treat as decoding settings."""


def suited_arguments(args: Any) -> Any:
    """Return a copy that Seq2SeqTrainer accepts and that suits captions.

    Plain `TrainingArguments` get the fields of `Seq2SeqTrainingArguments`. Rows keep their
    columns, as images and captions are not arguments of the model's `forward`.

    Raises:
        RecipeError: The arguments or the launcher request a model split among processes.
    """
    args = copy.copy(args)
    for field in fields(Seq2SeqTrainingArguments):
        if not hasattr(args, field.name):
            setattr(args, field.name, field.default)
    refuse_split_arguments(args)
    refuse_split_model()
    args.remove_unused_columns = False
    if args.accelerator_config.dispatch_batches is None:
        # Otherwise accelerate concatenates batches of streamed data, whose rows differ in length.
        args.accelerator_config = copy.copy(args.accelerator_config)
        args.accelerator_config.dispatch_batches = False
    # More than one device in one process would mean DataParallel, which copies the model each step.
    args._n_gpu = min(args.n_gpu, 1)
    best = (args.metric_for_best_model or "").removeprefix("eval_")
    if is_lower_better(best) and args.greater_is_better:
        # TrainingArguments assumes that every metric but a loss should rise.
        _log.warning("lower %s is better: greater_is_better is set to False", best)
        args.greater_is_better = False
    return args


def recipe_arguments(recipe: Recipe, run_folder: Path) -> Seq2SeqTrainingArguments:
    """Return the arguments that Trainer itself uses; the recipe provides the other settings."""
    train = recipe.train
    hardware = choose_hardware(train.device, train.precision)
    args = Seq2SeqTrainingArguments(
        output_dir=str(run_folder / "checkpoints"),
        per_device_train_batch_size=train.micro_batch_size,
        learning_rate=train.learning_rate,
        max_grad_norm=train.max_grad_norm or 0.0,
        label_smoothing_factor=train.label_smoothing,
        # captune autocasts to bf16 itself; fp16 needs Trainer's scaler.
        fp16=hardware.precision == "fp16",
        use_cpu=hardware.device.type == "cpu",
        ddp_timeout=int(GROUP_TIMEOUT.total_seconds()),
        seed=recipe.seed,
        logging_strategy="no",
        eval_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        logging_nan_inf_filter=False,
    )
    # Otherwise ACCELERATE_MIXED_PRECISION, which `accelerate launch` sets, would take precedence.
    args.mixed_precision = "fp16" if hardware.precision == "fp16" else "no"
    return args


def check_trainer_settings(train: TrainConfig) -> None:
    """Check, before any work, that Trainer supports the settings.

    Raises:
        RecipeError: A numbered device, which Trainer leaves to the environment.
    """
    if ":" in train.device and not train.device.endswith(":0"):
        kind, _, number = train.device.partition(":")
        raise RecipeError(
            f"train.engine: trainer cannot choose the device {train.device!r}",
            where="train.device",
            fix=f"use {kind} and make only that device visible by the environment"
            f" ({VISIBLE_DEVICES.get(kind, 'of its vendor')}={number}); or train.engine: loop",
        )


def evaluation_decoding(args: Any, asked: Mapping[str, Any]) -> GenerateConfig:
    """Return the decoding settings of evaluation; greedy and at most 30 tokens by default.

    Args:
        args: Training arguments, whose `generation_config` is used.
        asked: Keyword arguments of `evaluate(num_beams=5)`, else `generation_num_beams` and
            `generation_max_length`, as Seq2SeqTrainer passes them; they take precedence.

    Raises:
        RecipeError: A setting is not supported.
    """
    values: dict[str, Any] = {"num_beams": 1}
    source = args.generation_config
    if source is not None:
        config = Seq2SeqTrainer.load_generation_config(source)
        values |= _with_max_tokens(_set_fields(config), config.max_length)
    given = {name: value for name, value in asked.items() if value is not None}
    max_length = given.pop("max_length", None)
    values |= _with_max_tokens(given, max_length)
    options: DecodingOptions = values  # type: ignore[assignment]
    return decoding_config(options)


def _with_max_tokens(values: dict[str, Any], max_length: int | None) -> dict[str, Any]:
    if max_length is not None and "max_new_tokens" not in values:
        # Hugging Face's max_length counts the start token.
        values["max_new_tokens"] = max(1, max_length - 1)
    return values


def _set_fields(config: GenerationConfig) -> dict[str, Any]:
    """Return the fields that differ from transformers' defaults."""
    values = config.to_diff_dict()
    return {n: v for n, v in values.items() if n not in _NOT_DECODING and v is not None}
