"""New captioners: a named size with random weights, or an encoder joined with a decoder."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModel

from captune.errors import ModelError
from captune.hub import check_model_folder, is_local, require_weights
from captune.models.blip import BlipCaptioner
from captune.models.build.join import join_checkpoints, join_models, new_decoder
from captune.models.build.loading import load_tokenizer
from captune.models.build.sizes import SIZES, ModelSize
from captune.models.build.special_ids import special_ids, write_around
from captune.models.build.tokenizer import train_tokenizer
from captune.models.captioner import Captioner
from captune.models.generation_defaults import suppress_unknown
from captune.models.git import GitCaptioner
from captune.recipe import ModelConfig, NewDecoderConfig
from captune.storage import expand_home
from captune.suggest import did_you_mean


def new_captioner(config: ModelConfig, captions: Iterable[str], *, seed: int) -> Captioner:
    """Build a captioner from a named size, or from an encoder and a decoder.

    Args:
        config: Sets `size`, or `encoder` and optionally `decoder`.
        captions: Training captions, for a tokenizer that has to be trained.
        seed: Seed of the random weights.

    Raises:
        ModelError: The size is unknown, or the parts cannot be loaded or joined.
    """
    if config.encoder is None:
        # Report an unknown size before a tokenizer is trained.
        find_size(config.size or "blip-tiny")
    tokenizer = choose_tokenizer(config, captions)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if config.encoder is not None:
            captioner = join_checkpoints(config, tokenizer)
        else:
            size = config.size or "blip-tiny"
            captioner = build_size(size, tokenizer, image_size=config.image_size)
    suppress_unknown(captioner)
    return captioner


def build_size(name: str, tokenizer: Any, *, image_size: int | None = None) -> Captioner:
    """Build a captioner of a named size with random weights and a copy of a tokenizer.

    Args:
        name: One of `SIZES`.
        tokenizer: A transformers tokenizer with an end token.
        image_size: Side of the square input in pixels; `None`: the default of the size.

    Raises:
        ModelError: The size is unknown, or the tokenizer or image size does not fit it.
    """
    size = find_size(name)
    vision = dict(size.vision)
    if image_size is not None:
        vision["image_size"] = image_size
    _check_image_size(name, vision)
    side = {"height": vision["image_size"], "width": vision["image_size"]}
    processor = getattr(transformers, size.processor)(
        size=side, crop_size=side, do_center_crop=False
    )
    # A copy, because special tokens may be added to it.
    captioner = _BUILDERS[size.family](
        size, vision, tokenizer=copy.deepcopy(tokenizer), processor=processor
    )
    captioner.model.eval()
    captioner.freeze(())
    return captioner


def check_parts(config: ModelConfig) -> None:
    """Check the size's name and the local folders of a recipe's model; load nothing.

    Raises:
        ModelError: The size is unknown, or a folder is missing, not a model, or has no weights.
    """
    if config.size is not None:
        find_size(config.size)
    for key in ("checkpoint", "encoder", "decoder", "tokenizer"):
        source = getattr(config, key)
        if source is None or not is_local(source):
            continue
        folder = expand_home(source)
        check_model_folder(folder, where=f"model.{key}")
        if key != "tokenizer":
            require_weights(folder, where=f"model.{key}")


def find_size(name: str) -> ModelSize:
    """Return a named size.

    Raises:
        ModelError: There is no size with that name.
    """
    if name not in SIZES:
        raise ModelError(
            f"unknown model size {name!r}{did_you_mean(name, SIZES)}",
            where="model.size",
            fix=f"use one of: {', '.join(SIZES)}",
        )
    return SIZES[name]


def _check_image_size(name: str, vision: dict[str, Any]) -> None:
    side, patch = vision["image_size"], vision.get("patch_size", 1)
    if side % patch:
        below = max(patch, side - side % patch)
        raise ModelError(
            f"{name} cannot use images of {side} pixels: {side} is not a multiple of its"
            f" {patch}-pixel patches",
            where="model.image_size",
            fix=f"use {below} or {below + patch}",
        )


def choose_tokenizer(config: ModelConfig, captions: Iterable[str]) -> Any:
    """Load or train the tokenizer that a model configuration describes.

    Args:
        config: Any model section of a recipe.
        captions: Training captions, for a tokenizer that has to be trained.

    Raises:
        ModelError: The tokenizer cannot be loaded.
        DataError: The captions cannot train a tokenizer; see `train_tokenizer`.
    """
    for key in ("tokenizer", "decoder", "checkpoint"):
        source = getattr(config, key)
        if source is not None:
            own = {"revision": config.revision} if key == "checkpoint" and config.revision else {}
            return load_tokenizer(source, where=f"model.{key}", trust_remote_code=False, **own)
    return train_tokenizer(captions, config.new_tokenizer)


def _build_blip(
    size: ModelSize, vision: dict[str, Any], *, tokenizer: Any, processor: Any
) -> Captioner:
    if tokenizer.convert_tokens_to_ids("[DEC]") in (None, tokenizer.unk_token_id):
        tokenizer.add_special_tokens({"bos_token": "[DEC]"})
    ids = special_ids(tokenizer)
    start, end = tokenizer.convert_ids_to_tokens([ids.start, ids.end])
    write_around(tokenizer, start, after=end)
    text = {
        **size.text,
        "encoder_hidden_size": vision["hidden_size"],
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.convert_tokens_to_ids("[DEC]"),
        "sep_token_id": ids.end,
        "eos_token_id": ids.end,
        "pad_token_id": ids.pad,
    }
    config = transformers.BlipConfig(
        text_config=text,
        vision_config=vision,
        image_text_hidden_size=min(256, size.text["hidden_size"]),
        attn_implementation="eager",
    )
    model = transformers.BlipForConditionalGeneration(config)
    return BlipCaptioner(model, tokenizer, processor)


def _build_git(
    size: ModelSize, vision: dict[str, Any], *, tokenizer: Any, processor: Any
) -> Captioner:
    ids = special_ids(tokenizer)
    write_around(tokenizer, tokenizer.convert_ids_to_tokens(ids.start))
    config = transformers.GitConfig(
        vision_config=vision,
        **size.text,
        vocab_size=len(tokenizer),
        bos_token_id=ids.start,
        eos_token_id=ids.end,
        pad_token_id=ids.pad,
        attn_implementation="eager",
    )
    return GitCaptioner(transformers.GitForCausalLM(config), tokenizer, processor)


def _build_pair(
    size: ModelSize, vision: dict[str, Any], *, tokenizer: Any, processor: Any
) -> Captioner:
    encoder = AutoModel.from_config(
        AutoConfig.for_model(size.vision_type, **vision), attn_implementation="eager"
    )
    ids = special_ids(tokenizer)
    text = AutoConfig.for_model(
        size.text_type,
        **size.text,
        vocab_size=len(tokenizer),
        bos_token_id=ids.start,
        eos_token_id=ids.end,
        pad_token_id=ids.pad,
    )
    new = NewDecoderConfig(width=text.hidden_size, heads=text.num_attention_heads)
    return join_models(encoder, new_decoder(text), processors=(tokenizer, processor), new=new)


_BUILDERS = {"blip": _build_blip, "git": _build_git, "encoder-decoder": _build_pair}
