"""New captioners: a named size with random weights, or an encoder joined with a decoder."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer

from captune.errors import ModelError
from captune.hub import load_pretrained, with_did_you_mean
from captune.models.blip import BlipCaptioner
from captune.models.captioner import Captioner
from captune.models.conv_captioner import (
    ConvEncoderDecoderConfig,
    ConvEncoderDecoderModel,
    ConvGridConfig,
    ConvGridEncoder,
)
from captune.models.encoder_decoder import EncoderDecoderCaptioner, set_special_ids
from captune.models.git import GitCaptioner
from captune.models.sizes import SIZES, ModelSize
from captune.models.tokenizer import train_tokenizer
from captune.models.vision_stages import output_shape
from captune.recipe import ModelConfig, NewDecoderConfig

_NEW_POSITIONS = 128


def new_captioner(config: ModelConfig, captions: Iterable[str], *, seed: int) -> Captioner:
    """A captioner that is not a ready checkpoint.

    Args:
        config: With `size`, or `encoder` and perhaps `decoder`, set.
        captions: Training captions, for the tokenizer when it is to be trained.
        seed: Seed of the random weights.

    Raises:
        ModelError: Unknown size, or parts that cannot be loaded or joined.
    """
    tokenizer = _tokenizer(config, captions)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if config.encoder is not None:
            return _join(config, tokenizer)
        return build_size(config.size or "blip-tiny", tokenizer, image_size=config.image_size)


def build_size(name: str, tokenizer: Any, *, image_size: int | None = None) -> Captioner:
    """A random-weight captioner of a named size, over a given tokenizer.

    Raises:
        ModelError: The size is unknown.
    """
    if name not in SIZES:
        raise ModelError(
            f"unknown model size {name!r}{with_did_you_mean(name, SIZES)}",
            where="model.size",
            fix=f"use one of: {', '.join(SIZES)}",
        )
    size = SIZES[name]
    vision = dict(size.vision)
    if image_size is not None:
        vision["image_size"] = image_size
    side = {"height": vision["image_size"], "width": vision["image_size"]}
    processor = getattr(transformers, size.processor)(
        size=side, crop_size=side, do_center_crop=False
    )
    return _BUILDERS[size.family](size, vision, tokenizer, processor)


def _tokenizer(config: ModelConfig, captions: Iterable[str]) -> Any:
    source = config.tokenizer or config.decoder
    if source is None:
        return train_tokenizer(captions, config.new_tokenizer)
    return load_pretrained(AutoTokenizer, source, where="model.tokenizer")


def _build_blip(
    size: ModelSize, vision: dict[str, Any], tokenizer: Any, processor: Any
) -> Captioner:
    if tokenizer.convert_tokens_to_ids("[DEC]") in (None, tokenizer.unk_token_id):
        tokenizer.add_special_tokens({"bos_token": "[DEC]"})
    text = {
        **size.text,
        "encoder_hidden_size": vision["hidden_size"],
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.convert_tokens_to_ids("[DEC]"),
        "sep_token_id": tokenizer.sep_token_id,
        "eos_token_id": tokenizer.sep_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = transformers.BlipConfig(
        text_config=text,
        vision_config=vision,
        image_text_hidden_size=min(256, size.text["hidden_size"]),
    )
    model = transformers.BlipForConditionalGeneration(config)
    return BlipCaptioner(model, tokenizer, processor)


def _build_git(
    size: ModelSize, vision: dict[str, Any], tokenizer: Any, processor: Any
) -> Captioner:
    config = transformers.GitConfig(
        vision_config=vision,
        **size.text,
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return GitCaptioner(transformers.GitForCausalLM(config), tokenizer, processor)


def _build_pair(
    size: ModelSize, vision: dict[str, Any], tokenizer: Any, processor: Any
) -> Captioner:
    encoder = AutoModel.from_config(AutoConfig.for_model(size.vision_type, **vision))
    start, end, pad = _special_ids(tokenizer)
    text = AutoConfig.for_model(
        size.text_type,
        **size.text,
        vocab_size=len(tokenizer),
        bos_token_id=start,
        eos_token_id=end,
        pad_token_id=pad,
    )
    new = NewDecoderConfig(width=text.hidden_size, heads=text.num_attention_heads)
    return _pair(encoder, _new_decoder(text), (tokenizer, processor), new=new)


_BUILDERS = {"blip": _build_blip, "git": _build_git, "encoder-decoder": _build_pair}


def _join(config: ModelConfig, tokenizer: Any) -> Captioner:
    """A pretrained encoder with a pretrained or a new decoder."""
    if config.encoder is None:
        raise ModelError("an encoder is needed to join", where="model.encoder")
    encoder = load_pretrained(AutoModel, config.encoder, where="model.encoder")
    processor = load_pretrained(
        transformers.AutoImageProcessor, config.encoder, where="model.encoder", backend="pil"
    )
    if config.image_size is not None:
        _set_image_size(processor, encoder, config.image_size)
    if config.decoder is None:
        decoder = _new_decoder(_new_decoder_config(config.new_decoder, tokenizer))
    else:
        text = load_pretrained(AutoConfig, config.decoder, where="model.decoder")
        text.is_decoder = text.add_cross_attention = True
        decoder = load_pretrained(
            AutoModelForCausalLM, config.decoder, where="model.decoder", config=text
        )
    return _pair(encoder, decoder, (tokenizer, processor), new=config.new_decoder)


def _set_image_size(processor: Any, encoder: Any, size: int) -> None:
    """Resizes to the exact size, without the centre crop that cuts a photograph's border off.

    Raises:
        ModelError: The encoder's position table fixes its input size.
    """
    fixed = getattr(encoder.config, "patch_size", None) and getattr(
        encoder.config, "image_size", size
    )
    if fixed and fixed != size:
        raise ModelError(
            f"the encoder takes images of {fixed} pixels, not {size}",
            where="model.image_size",
            fix="remove model.image_size",
        )
    processor.size = type(processor.size)(height=size, width=size)
    processor.do_center_crop = False


def _new_decoder_config(new: NewDecoderConfig, tokenizer: Any) -> Any:
    start, end, pad = _special_ids(tokenizer)
    ids = {"bos_token_id": start, "eos_token_id": end, "pad_token_id": pad}
    if new.kind == "bert":
        return transformers.BertConfig(
            vocab_size=len(tokenizer),
            **ids,
            hidden_size=new.width,
            num_hidden_layers=new.layers,
            num_attention_heads=new.heads,
            intermediate_size=4 * new.width,
            max_position_embeddings=_NEW_POSITIONS,
            hidden_dropout_prob=new.dropout,
            attention_probs_dropout_prob=new.dropout,
        )
    return transformers.GPT2Config(
        vocab_size=len(tokenizer),
        **ids,
        n_embd=new.width,
        n_layer=new.layers,
        n_head=new.heads,
        n_positions=_NEW_POSITIONS,
        embd_pdrop=new.dropout,
        attn_pdrop=new.dropout,
        resid_pdrop=new.dropout,
    )


def _new_decoder(text: Any) -> Any:
    text.is_decoder = text.add_cross_attention = True
    return AutoModelForCausalLM.from_config(text)


def _pair(
    encoder: Any, decoder: Any, processors: tuple[Any, Any], *, new: NewDecoderConfig
) -> Captioner:
    tokenizer, processor = processors
    start, end, pad = _special_ids(tokenizer)
    if len(tokenizer) > decoder.config.vocab_size:
        decoder.resize_token_embeddings(len(tokenizer))
    shape = output_shape(
        encoder, _input_size(processor), getattr(encoder.config, "num_channels", 3)
    )
    if len(shape) == 4:
        grid = _conv_encoder(encoder, shape, decoder.config.hidden_size, new=new)
        config = ConvEncoderDecoderConfig(
            encoder=grid.config.to_dict(), decoder=decoder.config.to_dict()
        )
        model = ConvEncoderDecoderModel(config, encoder=grid, decoder=decoder)
    else:
        model = transformers.VisionEncoderDecoderModel(encoder=encoder, decoder=decoder)
    set_special_ids(model, start=start, end=end, pad=pad)
    return EncoderDecoderCaptioner(model, tokenizer, processor)


def _conv_encoder(
    backbone: Any, shape: torch.Size, width: int, *, new: NewDecoderConfig
) -> ConvGridEncoder:
    config = ConvGridConfig(
        backbone=backbone.config.to_dict(),
        backbone_width=shape[1],
        grid_size=shape[2] * shape[3],
        hidden_size=width,
        num_layers=new.bridge_layers,
        num_heads=new.heads,
        dropout=new.dropout,
        feature_dropout=new.feature_dropout,
    )
    return ConvGridEncoder(config, backbone=backbone)


def _special_ids(tokenizer: Any) -> tuple[int, int, int]:
    """Start, end and padding: BERT-like tokenizers have [CLS] and [SEP], GPT-2 one for all."""
    start = _first(tokenizer.cls_token_id, tokenizer.bos_token_id)
    end = _first(tokenizer.sep_token_id, tokenizer.eos_token_id)
    if start is None or end is None:
        raise ModelError(
            "the tokenizer has no start or no end token",
            where="model.tokenizer",
            fix="give a tokenizer with cls/bos and sep/eos tokens, or let captune train one",
        )
    pad = _first(tokenizer.pad_token_id, end)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(end)
    return start, end, pad if pad is not None else end


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)


def _input_size(processor: Any) -> tuple[int, int]:
    """Height and width in pixels that the image processor gives."""
    if getattr(processor, "do_center_crop", False) and processor.crop_size:
        size = processor.crop_size
    else:
        size = processor.size
    if "height" in size:
        return int(size["height"]), int(size["width"])
    return int(size["shortest_edge"]), int(size["shortest_edge"])
