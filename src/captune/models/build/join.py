"""Any vision encoder joined with a text decoder, pretrained or new (Rothe et al. 2020)."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from transformers import AutoModel, AutoModelForCausalLM
from transformers.utils import CONFIG_NAME

from captune.errors import ModelError
from captune.hub import name_file
from captune.models.build.loading import (
    DECODER_ONLY,
    ENCODER_ONLY,
    load_image_processor,
    load_weights,
    log_new_weights,
    read_config,
)
from captune.models.build.processor_rules import try_transform
from captune.models.build.sizes import initial_spread
from captune.models.build.skeleton import build_skeleton, check_weights_fit
from captune.models.build.special_ids import special_ids
from captune.models.captioner import Captioner
from captune.models.conv_captioner import (
    ConvEncoderDecoderConfig,
    ConvEncoderDecoderModel,
    ConvGridConfig,
    ConvGridEncoder,
)
from captune.models.encoder_decoder import (
    DECODER_TYPES,
    EncoderDecoderCaptioner,
    set_special_ids,
)
from captune.models.vision.image_transform import ImageTransform
from captune.models.vision.stages import output_shape
from captune.recipe import ModelConfig, NewDecoderConfig
from captune.storage import expand_home

_NEW_POSITIONS = 128


def join_checkpoints(config: ModelConfig, tokenizer: Any) -> Captioner:
    """Join a pretrained encoder with a pretrained or a new decoder.

    Args:
        config: Sets `encoder`, and `decoder` or `new_decoder`.
        tokenizer: The decoder's tokenizer.

    Raises:
        ModelError: A part cannot be loaded, or is of the wrong type.
    """
    if config.encoder is None:
        raise ModelError(
            "joining needs an encoder",
            where="model.encoder",
            fix="set model.encoder to a folder or a hub id",
        )
    encoder = _load_encoder(config.encoder)
    processor = load_image_processor(config.encoder, where="model.encoder", trust_remote_code=False)
    if config.image_size is not None:
        _set_image_size(processor, encoder, config.image_size)
    try_transform(lambda: ImageTransform(processor), config.encoder, where="model.encoder")
    if config.decoder is None:
        decoder = new_decoder(_new_decoder_config(config.new_decoder, tokenizer))
    else:
        decoder = _load_decoder(config.decoder)
    captioner = join_models(
        encoder, decoder, processors=(tokenizer, processor), new=config.new_decoder
    )
    captioner.model.eval()
    captioner.freeze(())
    return captioner


def join_models(
    encoder: Any, decoder: Any, *, processors: tuple[Any, Any], new: NewDecoderConfig
) -> Captioner:
    """Build a captioner from an encoder and a decoder, with a bridge if the encoder returns a map.

    Args:
        encoder: A transformers vision encoder.
        decoder: A transformers language model with cross-attention.
        processors: Tokenizer and image processor.
        new: Settings of the bridge.

    Raises:
        ModelError: The encoder rejects its processor's image size, or is not a vision encoder.
    """
    tokenizer, processor = processors
    ids = special_ids(tokenizer)
    if len(tokenizer) > decoder.config.vocab_size:
        decoder.resize_token_embeddings(len(tokenizer))
    channels = getattr(encoder.config, "num_channels", 3)
    shape = output_shape(encoder, _input_size(processor), channels=channels)
    if len(shape) == 4:
        grid = _conv_encoder(encoder, shape, width=decoder.config.hidden_size, new=new)
        config = ConvEncoderDecoderConfig(
            encoder=grid.config.to_dict(), decoder=decoder.config.to_dict()
        )
        model = ConvEncoderDecoderModel(config, encoder=grid, decoder=decoder)
    else:
        # VisionEncoderDecoderModel reads the width under this name only.
        if not hasattr(encoder.config, "hidden_size"):
            encoder.config.hidden_size = shape[-1]
        model = transformers.VisionEncoderDecoderModel(encoder=encoder, decoder=decoder)
    set_special_ids(model, start=ids.start, end=ids.end, pad=ids.pad)
    return EncoderDecoderCaptioner(model, tokenizer, processor)


def new_decoder(text: Any) -> Any:
    """Build a decoder with random weights from a text config, with cross-attention."""
    text.is_decoder = text.add_cross_attention = True
    return AutoModelForCausalLM.from_config(text, attn_implementation="eager")


def _load_encoder(source: str) -> Any:
    found = read_config(source, where="model.encoder", trust_remote_code=False)
    _check_weights_fit(AutoModel, found, source=source, where="model.encoder")
    encoder, _ = load_weights(
        AutoModel, source, where="model.encoder", expected=ENCODER_ONLY, trust_remote_code=False
    )
    if encoder.main_input_name != "pixel_values":
        raise ModelError(
            f"{source!r} is a {encoder.config.model_type!r} model, not a vision encoder",
            where="model.encoder",
            fix="use a ViT, DeiT, BEiT, Swin, MobileNetV2, ConvNeXt or ResNet model",
        )
    return encoder


def _load_decoder(source: str) -> Any:
    text = read_config(source, where="model.decoder", trust_remote_code=False)
    if text.model_type not in DECODER_TYPES:
        raise ModelError(
            f"{source!r} is a {text.model_type!r} model, not a decoder that captune can join",
            where="model.decoder",
            fix=f"use a model of one of these types: {', '.join(DECODER_TYPES)}; or remove"
            " model.decoder to build a new one",
        )
    # Without both, transformers fails later.
    text.is_decoder = text.add_cross_attention = True
    _check_weights_fit(AutoModelForCausalLM, text, source=source, where="model.decoder")
    decoder, new_keys = load_weights(
        AutoModelForCausalLM,
        source,
        where="model.decoder",
        expected=DECODER_ONLY,
        config=text,
        trust_remote_code=False,
    )
    log_new_weights(new_keys, source)
    return decoder


def _check_weights_fit(model_class: Any, config: Any, *, source: str, where: str) -> None:
    file = name_file(source, CONFIG_NAME)
    skeleton = build_skeleton(model_class, config, file=file, where=where)
    check_weights_fit(skeleton, expand_home(source), where=where)


def _set_image_size(processor: Any, encoder: Any, size: int) -> None:
    """Make the processor resize to the exact size, without a centre crop that loses the border.

    Raises:
        ModelError: The encoder's position table fixes its input size.
    """
    has_patches = getattr(encoder.config, "patch_size", None) is not None
    fixed = getattr(encoder.config, "image_size", size) if has_patches else size
    if fixed != size:
        raise ModelError(
            f"the encoder needs images of {fixed} pixels, not {size}",
            where="model.image_size",
            fix="remove model.image_size",
        )
    processor.size = type(processor.size)(height=size, width=size)
    processor.do_center_crop = False


def _new_decoder_config(new: NewDecoderConfig, tokenizer: Any) -> Any:
    ids = special_ids(tokenizer)
    known = {"bos_token_id": ids.start, "eos_token_id": ids.end, "pad_token_id": ids.pad}
    if new.kind == "bert":
        return transformers.BertConfig(
            vocab_size=len(tokenizer),
            **known,
            hidden_size=new.width,
            num_hidden_layers=new.layers,
            num_attention_heads=new.heads,
            intermediate_size=4 * new.width,
            max_position_embeddings=_NEW_POSITIONS,
            hidden_dropout_prob=new.dropout,
            attention_probs_dropout_prob=new.dropout,
            initializer_range=initial_spread(new.width),
        )
    return transformers.GPT2Config(
        vocab_size=len(tokenizer),
        **known,
        n_embd=new.width,
        n_layer=new.layers,
        n_head=new.heads,
        n_positions=_NEW_POSITIONS,
        # The same function as GPT-2's `gelu_new`, in one pass over memory for transformers, too.
        activation_function="gelu_pytorch_tanh",
        embd_pdrop=new.dropout,
        attn_pdrop=new.dropout,
        resid_pdrop=new.dropout,
        initializer_range=initial_spread(new.width),
    )


def _conv_encoder(
    backbone: Any, shape: torch.Size, *, width: int, new: NewDecoderConfig
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


def _input_size(processor: Any) -> tuple[int, int]:
    """Return the height and width, in pixels, of the image processor's output."""
    if getattr(processor, "do_center_crop", False) and processor.crop_size:
        size = processor.crop_size
    else:
        size = processor.size
    if "height" in size:
        return int(size["height"]), int(size["width"])
    return int(size["shortest_edge"]), int(size["shortest_edge"])
