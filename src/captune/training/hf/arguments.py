"""What a `CaptionTrainer` makes of `TrainingArguments`: kept as given, where captions allow it."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from transformers import GenerationConfig, Seq2SeqTrainer, Seq2SeqTrainingArguments

from captune.inference import DecodingOptions, decoding_config
from captune.metrics import is_lower_better
from captune.recipe import GenerateConfig
from captune.training.launchers import refuse_split_arguments, refuse_split_model

_log = logging.getLogger("captune.training")

_NOT_DECODING = frozenset(
    (
        *("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id"),
        *("use_cache", "transformers_version", "max_length", "_from_model_config"),
    )
)
"""Fields of a GenerationConfig that say something else than how to choose tokens."""


def suited_arguments(args: Any) -> Any:
    """A copy that Seq2SeqTrainer takes and that fits captions.

    Plain `TrainingArguments` get the fields of `Seq2SeqTrainingArguments`. Rows keep their
    columns, since images and captions are no arguments of the model's `forward`.

    Raises:
        RecipeError: The arguments or the launcher ask for a model split among processes.
    """
    args = copy.copy(args)
    for field in fields(Seq2SeqTrainingArguments):
        if not hasattr(args, field.name):
            setattr(args, field.name, field.default)
    refuse_split_arguments(args)
    refuse_split_model()
    args.remove_unused_columns = False
    if args.accelerator_config.dispatch_batches is None:
        # Otherwise accelerate joins the batches of streamed data, whose rows differ in length.
        args.accelerator_config = copy.copy(args.accelerator_config)
        args.accelerator_config.dispatch_batches = False
    # More than one device in one process would mean DataParallel, which copies the model each step.
    args._n_gpu = min(args.n_gpu, 1)
    best = (args.metric_for_best_model or "").removeprefix("eval_")
    if is_lower_better(best) and args.greater_is_better:
        # TrainingArguments takes every metric but a loss for one that should rise.
        _log.warning("less %s is better: greater_is_better is set to False", best)
        args.greater_is_better = False
    return args


def evaluation_decoding(args: Any, asked: Mapping[str, Any]) -> GenerateConfig:
    """How captions are decoded in evaluation: greedy, 30 tokens, unless told otherwise.

    Args:
        args: Its `generation_config` is read first, then `generation_num_beams` and
            `generation_max_length`.
        asked: What `evaluate(num_beams=5)` was called with; wins.

    Raises:
        RecipeError: A setting that captune does not decode with.
    """
    values: dict[str, Any] = {"num_beams": 1}
    source = args.generation_config
    if source is not None:
        config = Seq2SeqTrainer.load_generation_config(source)
        values |= _told(_set_fields(config), config.max_length)
    told = {name: value for name, value in asked.items() if value is not None}
    values |= _told({n: v for n, v in told.items() if n != "max_length"}, told.get("max_length"))
    options: DecodingOptions = values  # type: ignore[assignment]
    return decoding_config(options)


def _told(values: dict[str, Any], max_length: int | None) -> dict[str, Any]:
    if max_length is not None and "max_new_tokens" not in values:
        # The start token counts in Hugging Face's max_length.
        values["max_new_tokens"] = max(1, max_length - 1)
    return values


def _set_fields(config: GenerationConfig) -> dict[str, Any]:
    """What was set, and differs from transformers' defaults."""
    values = config.to_diff_dict()
    return {n: v for n, v in values.items() if n not in _NOT_DECODING and v is not None}
