"""The table of families, and loading a captioner from a hub id or folder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import (
    BlipForConditionalGeneration,
    GitForCausalLM,
    VisionEncoderDecoderModel,
)
from transformers.utils import CONFIG_NAME

from captune.errors import ModelError
from captune.hub import is_local, name_file, require_weights
from captune.models.blip import BlipCaptioner
from captune.models.build.loading import (
    EVERY_KEY,
    load_image_processor,
    load_tokenizer,
    load_weights,
    read_config,
)
from captune.models.build.new import check_parts, new_captioner
from captune.models.build.processor_rules import try_transform
from captune.models.build.skeleton import build_skeleton, check_weights_fit, try_skeleton
from captune.models.captioner import Captioner
from captune.models.conv_captioner import ConvEncoderDecoderConfig, ConvEncoderDecoderModel
from captune.models.encoder_decoder import EncoderDecoderCaptioner
from captune.models.git import GitCaptioner
from captune.recipe import ModelConfig
from captune.storage import expand_home


@dataclass(frozen=True, slots=True)
class Family:
    """One row of the table.

    Attributes:
        model_class: The transformers class with the weights.
        captioner_class: captune's interface to it.
    """

    model_class: Any
    captioner_class: type[Captioner]


FAMILIES: dict[str, Family] = {
    # transformers' model_type: ...
    "blip": Family(BlipForConditionalGeneration, BlipCaptioner),
    "git": Family(GitForCausalLM, GitCaptioner),
    "vision-encoder-decoder": Family(VisionEncoderDecoderModel, EncoderDecoderCaptioner),
    ConvEncoderDecoderConfig.model_type: Family(ConvEncoderDecoderModel, EncoderDecoderCaptioner),
}


def build_captioner(
    config: ModelConfig, captions: Iterable[str] = (), *, seed: int = 0
) -> Captioner:
    """Build the captioner that a recipe describes, and freeze the parts that it names.

    Args:
        config: The recipe's `model` section.
        captions: Training captions, for a new tokenizer.
        seed: Seed of new weights.

    Raises:
        ModelError: A checkpoint, size, part or combination is not available, or every part is
            frozen.
    """
    if config.checkpoint is not None:
        captioner = load_captioner(
            config.checkpoint,
            tokenizer=config.tokenizer,
            revision=config.revision,
            where="model.checkpoint",
        )
    else:
        captioner = new_captioner(config, captions, seed=seed)
    captioner.freeze(config.freeze)
    if config.freeze and next(captioner.named_trainable(), None) is None:
        raise ModelError(
            f"nothing is left to train: {', '.join(config.freeze)} are all parts of the model",
            where="model.freeze",
            fix="freeze fewer parts, such as vision alone",
        )
    return captioner


def check_sources(config: ModelConfig) -> None:
    """Check the local folders and names of a recipe's model; load no weights.

    Raises:
        ModelError: The size or family is unknown, or a folder is missing, not a model, or has no
            weights.
    """
    check_parts(config)
    source = config.checkpoint
    if source is not None and is_local(source):
        where = "model.checkpoint"
        found = read_config(source, where=where, trust_remote_code=False)
        _family_of(found.model_type, source, where=where)


def load_captioner(
    source: str | Path,
    *,
    tokenizer: str | None = None,
    revision: str | None = None,
    where: str = "MODEL",
) -> Captioner:
    """Load a captioner from a hub id or a folder, in float32, with nothing frozen.

    Args:
        source: Hub id, or a folder saved by captune or transformers.
        tokenizer: Hub id or folder of the tokenizer; `None`: the model's own.
        revision: Hub branch, tag or commit; `None`: the newest.
        where: Recipe key or argument, for errors.

    Raises:
        ModelError: The model does not exist, has no weights, or is of an unknown family.
    """
    source = str(source)
    if is_local(source) and expand_home(source).is_dir():
        require_weights(expand_home(source), where=where)
    pinned = {"trust_remote_code": False, **({"revision": revision} if revision else {})}
    config = read_config(source, where=where, **pinned)
    family = _family_of(config.model_type, source, where=where)
    words = (
        load_tokenizer(source, where=where, **pinned)
        if tokenizer is None
        else load_tokenizer(tokenizer, where="model.tokenizer", trust_remote_code=False)
    )
    processor = load_image_processor(source, where=where, **pinned)
    file = name_file(source, CONFIG_NAME)
    skeleton = build_skeleton(family.model_class, config, file=file, where=where)
    check_weights_fit(skeleton, expand_home(source), where=where)
    trial = family.captioner_class(skeleton, words, processor)
    inputs = try_transform(trial.image_transform, source, where=where)
    try_skeleton(trial, inputs, source=source, where=where)
    model, _ = load_weights(family.model_class, source, where=where, expected=EVERY_KEY, **pinned)
    vocab_size = model.get_input_embeddings().num_embeddings
    if len(words) > vocab_size:
        raise ModelError(
            f"the tokenizer has {len(words)} tokens, the model {source!r} only {vocab_size}",
            where=where,
            fix="use the tokenizer that the model was trained with",
        )
    captioner = family.captioner_class(model.eval(), words, processor)
    captioner.freeze(())
    return captioner


def as_captioner(model: Any, processor: Any) -> Captioner:
    """Return a captioner around a transformers model that a script has loaded.

    Parameters without `requires_grad` stay frozen.

    Args:
        model: A model of a known family.
        processor: transformers' processor, with a tokenizer and an image processor.

    Raises:
        ModelError: The family is unknown, or the processor lacks one of its two halves.
    """
    name = getattr(model, "name_or_path", "") or type(model).__name__
    model_type = getattr(getattr(model, "config", None), "model_type", "")
    family = _family_of(model_type, name, where="model")
    halves = [getattr(processor, half, None) for half in ("tokenizer", "image_processor")]
    if None in halves:
        raise ModelError(
            f"{type(processor).__name__} is not a processor with a tokenizer and an image"
            " processor",
            where="processing_class",
            fix="pass AutoProcessor.from_pretrained(...), or"
            " TrOCRProcessor(image_processor, tokenizer)",
        )
    captioner: Captioner = family.captioner_class(model, *halves)
    return captioner


def _family_of(model_type: str, source: str, *, where: str) -> Family:
    if model_type not in FAMILIES:
        raise ModelError(
            f"{source!r} is a {model_type!r} model, a family that captune does not support"
            if model_type
            else f"{source!r} has no config of a transformers model",
            where=where,
            fix=f"use a model of one of these types: {', '.join(FAMILIES)}",
        )
    return FAMILIES[model_type]
