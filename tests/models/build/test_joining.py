"""Pretrained encoders joined with pretrained or new decoders, from folders."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from captune.errors import ModelError
from captune.models import build_captioner, build_size, load_captioner
from captune.recipe import ModelConfig, NewDecoderConfig, TokenizerConfig
from captune.records import VisionInputs
from support.models.slow_twins import greedy_without_cache, loss_one_caption_per_row
from support.models.tiny_models import (
    CAPTIONS,
    ROWS,
    build,
    images,
    square_processor,
    tiny_encoder,
    tokenizer,
)

MOBILENET = "weights/mobilenet_v2_1.0_224-hf"
ENCODERS = ("vit", "deit", "beit", "swin", "mobilenet_v2", "resnet", "convnext")
SMALL = NewDecoderConfig(width=32, heads=2, layers=1)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save encoders and decoders like separate repositories."""
    root = tmp_path_factory.mktemp("parts")
    for kind in ENCODERS:
        tiny_encoder(kind).save_pretrained(root / kind)
        square_processor().save_pretrained(root / kind)
    words = tokenizer()
    size = {"vocab_size": len(words), "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    gpt2 = transformers.GPT2Config(**size, n_embd=32, n_layer=2, n_head=2, n_positions=64)
    bert = transformers.BertConfig(
        **size, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    models = {
        "gpt2": transformers.GPT2LMHeadModel(gpt2),
        "bert": transformers.BertForPreTraining(bert),
        "bare-bert": transformers.BertModel(bert),
    }
    for kind, model in models.items():
        model.save_pretrained(root / kind)
        words.save_pretrained(root / kind)
    return root


def joined(parts: Path, encoder: str, decoder: str | None, **settings: Any) -> Any:
    config = ModelConfig(
        encoder=str(parts / encoder),
        decoder=None if decoder is None else str(parts / decoder),
        new_decoder=SMALL,
        new_tokenizer=TokenizerConfig(kind="word", min_count=1),
        **settings,
    )
    return build_captioner(config, CAPTIONS, seed=3)


@pytest.mark.parametrize("decoder", ["gpt2", "bert", None])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_any_encoder_joins_any_decoder(encoder: str, decoder: str | None, parts: Path) -> None:
    captioner = joined(parts, encoder, decoder)
    # [CLS], [SEP] and [PAD] of the word tokenizer.
    assert (captioner.bos_token_id, captioner.eos_token_id, captioner.pad_token_id) == (2, 3, 0)
    pixels = captioner.pixel_values(images(3))
    batch = captioner.batch(ROWS, ["a", "b", "c"], max_caption_tokens=20)
    packed = captioner.loss(replace(batch, vision_inputs=VisionInputs.of_pixels(pixels))).loss_sum
    slow = loss_one_caption_per_row(captioner, ROWS, pixel_values=pixels)
    torch.testing.assert_close(packed, slow, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_pretrained_encoder_keeps_its_weights(encoder: str, parts: Path) -> None:
    captioner = joined(parts, encoder, None)
    model = captioner.model.encoder
    own = (model.backbone if hasattr(model, "bridge") else model).state_dict()
    saved = transformers.AutoModel.from_pretrained(parts / encoder).state_dict()
    assert own.keys() == saved.keys()
    assert all(torch.equal(own[key], saved[key]) for key in own)


@pytest.mark.parametrize(("decoder", "prefix"), [("gpt2", "transformer."), ("bert", "bert.")])
def test_the_pretrained_decoder_keeps_its_weights(decoder: str, prefix: str, parts: Path) -> None:
    own = joined(parts, "vit", decoder).model.decoder.state_dict()
    saved = transformers.AutoModelForCausalLM.from_pretrained(parts / decoder).state_dict()
    kept = [key for key in saved if key.startswith(prefix) and key in own]
    assert len(kept) > 20
    assert all(torch.equal(own[key], saved[key]) for key in kept)


@pytest.mark.parametrize(
    ("decoder", "new"),
    [
        # Two layers: GPT-2's four pairs of weight and bias, BERT's ten tensors.
        ("gpt2", "cross-attention to the image (16 weights)"),
        ("bert", "cross-attention to the image (20 weights)"),
        ("bare-bert", "cross-attention to the image (20 weights) and the output head (6 weights)"),
    ],
)
def test_new_weights_are_reported_in_one_line(
    decoder: str, new: str, parts: Path, caplog: pytest.LogCaptureFixture
) -> None:
    joined(parts, "vit", decoder)
    lines = [r.getMessage() for r in caplog.records if r.name.startswith("captune")]
    assert lines == [f"{parts / decoder}: {new}: new, starting from random values"]


def test_joining_prints_no_tables_and_no_bars(
    parts: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    joined(parts, "mobilenet_v2", None)
    assert capfd.readouterr() == ("", "")


def test_widths_that_differ_are_projected(parts: Path) -> None:
    config = ModelConfig(
        encoder=str(parts / "vit"),
        new_decoder=NewDecoderConfig(width=48, heads=2, layers=1),
        new_tokenizer=TokenizerConfig(min_count=1),
    )
    model = build_captioner(config, CAPTIONS).model
    assert tuple(model.enc_to_dec_proj.weight.shape) == (48, 32)


@pytest.mark.parametrize("kind", ["gpt2", "bert"])
def test_a_new_decoder_follows_its_settings(kind: Any, parts: Path) -> None:
    config = ModelConfig(
        encoder=str(parts / "resnet"),
        new_decoder=NewDecoderConfig(
            kind=kind,
            width=24,
            heads=3,
            layers=2,
            dropout=0.25,
            bridge_layers=2,
            feature_dropout=0.5,
        ),
        new_tokenizer=TokenizerConfig(min_count=1),
    )
    model = build_captioner(config, CAPTIONS).model
    text, grid = model.config.decoder, model.config.encoder
    assert (text.model_type, text.hidden_size) == (kind, 24)
    assert (text.num_hidden_layers, text.num_attention_heads) == (2, 3)
    assert text.max_position_embeddings == 128
    dropouts = [m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)]
    assert set(dropouts) == {0.25, 0.5}
    assert (grid.num_layers, grid.num_heads, grid.grid_size, grid.backbone_width) == (2, 3, 16, 16)
    assert len(model.encoder.bridge.layers) == 2


@pytest.mark.parametrize("encoder", ["vit", "swin", "resnet"])
def test_a_joined_captioner_can_be_saved_and_loaded(
    encoder: str, parts: Path, tmp_path: Path
) -> None:
    captioner = joined(parts, encoder, "gpt2")
    captioner.save(tmp_path)
    again = load_captioner(tmp_path)
    pixels = captioner.pixel_values(images(1))
    assert greedy_without_cache(again, pixels, max_new_tokens=6) == greedy_without_cache(
        captioner, pixels, max_new_tokens=6
    )
    assert captioner.model.decoder.lm_head.weight is captioner.model.decoder.transformer.wte.weight


def test_named_parts_are_frozen_when_joining(parts: Path) -> None:
    captioner = joined(parts, "mobilenet_v2", None, freeze=("vision.first-3",))
    assert captioner.frozen_stages == 4


def test_a_larger_tokenizer_enlarges_the_decoder(parts: Path, tmp_path: Path) -> None:
    words = tokenizer()
    words.add_tokens(["zebra", "okapi"])
    words.save_pretrained(tmp_path)
    captioner = joined(parts, "vit", "gpt2", tokenizer=str(tmp_path))
    assert captioner.model.decoder.lm_head.weight.shape[0] == len(words)
    assert captioner.model.config.decoder.vocab_size == len(words)


@pytest.mark.parametrize("encoder", ["gpt2", "bare-bert"])
def test_a_language_model_is_refused_as_vision_encoder(encoder: str, parts: Path) -> None:
    with pytest.raises(ModelError) as caught:
        joined(parts, encoder, None)
    kind = encoder.removeprefix("bare-")
    assert caught.value.what == (f"'{parts / encoder}' is a {kind!r} model, not a vision encoder")
    assert caught.value.where == "model.encoder"


def test_a_vision_encoder_is_refused_as_decoder(parts: Path) -> None:
    with pytest.raises(ModelError) as caught:
        joined(parts, "vit", "swin", tokenizer=str(parts / "bert"))
    assert caught.value.what == (
        f"'{parts / 'swin'}' is a 'swin' model, not a decoder that captune can join"
    )
    assert "gpt2, bert" in caught.value.fix


def test_a_missing_part_is_named_with_its_key(parts: Path) -> None:
    with pytest.raises(ModelError) as caught:
        joined(parts, "gone", None)
    assert caught.value.where == "model.encoder"
    with pytest.raises(ModelError) as caught:
        joined(parts, "vit", "gone")
    assert caught.value.where == "model.decoder"


def test_a_decoder_with_missing_layers_is_refused(parts: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(parts / "gpt2/model.safetensors")
    kept = {k: v for k, v in weights.items() if ".h.1." not in k}
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((parts / "gpt2" / name).read_bytes())
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lack transformer\.h\.1\.attn\.c_attn\.bias"):
        joined(parts, "vit", str(tmp_path))


@pytest.mark.real_data
def test_an_unknown_decoder_family_is_refused(real_data: Path) -> None:
    llama = real_data / "weights/stories260K-hf"
    config = ModelConfig(encoder=str(real_data / MOBILENET), decoder=str(llama))
    with pytest.raises(ModelError) as caught:
        build_captioner(config)
    assert caught.value.what.startswith(f"'{llama}' is a 'llama' model")


@pytest.mark.slow
@pytest.mark.real_data
def test_the_real_mobilenet_joins_a_new_decoder(tmp_path: Path, real_data: Path) -> None:
    config = ModelConfig(
        encoder=str(real_data / MOBILENET),
        new_decoder=NewDecoderConfig(width=32, heads=2, bridge_layers=1),
        new_tokenizer=TokenizerConfig(kind="word", min_count=1),
        freeze=("vision.first-9",),
    )
    captioner = build_captioner(config, CAPTIONS)
    pixels = captioner.pixel_values(images(2))
    assert pixels.shape == (2, 3, 224, 224)
    # The last map with 64 channels, after block 10 of 17.
    features = captioner.encode_frozen(pixels)
    assert features.shape == (2, 64, 14, 14)
    states = captioner.encode_trained(features)
    assert states.shape == (2, 49, 32)
    captioner.save(tmp_path)
    again = load_captioner(tmp_path)
    with torch.inference_mode():
        torch.testing.assert_close(again.encode(pixels), states, rtol=0, atol=1e-5)
    assert json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))["auto_map"]


VIT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 64,
    "patch_size": 16,
}
OTHERS = {
    "dinov2": lambda: transformers.Dinov2Config(**VIT),
    "clip_vision_model": lambda: transformers.CLIPVisionConfig(**VIT),
    "siglip_vision_model": lambda: transformers.SiglipVisionConfig(**VIT),
    "convnextv2": lambda: transformers.ConvNextV2Config(
        depths=[1, 1], hidden_sizes=[8, 16], num_stages=2
    ),
    "regnet": lambda: transformers.RegNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], groups_width=8
    ),
    "focalnet": lambda: transformers.FocalNetConfig(image_size=64, embed_dim=16, depths=[1, 1]),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_encoders_outside_the_table_join_as_one_stage(kind: str, tmp_path: Path) -> None:
    encoder = transformers.AutoModel.from_config(OTHERS[kind](), attn_implementation="eager")
    assert encoder.config.model_type == kind
    encoder.save_pretrained(tmp_path / "encoder")
    square_processor().save_pretrained(tmp_path / "encoder")
    captioner = joined(tmp_path, "encoder", None)
    batch = captioner.batch(ROWS, ["a", "b", "c"], max_caption_tokens=20)
    batch = replace(batch, vision_inputs=VisionInputs.of_pixels(captioner.pixel_values(images(3))))
    loss = captioner.loss(batch).loss_sum
    loss.backward()
    assert [name for name, p in captioner.named_trainable() if p.grad is None] == []
    captioner.save(tmp_path / "joined")
    assert torch.equal(load_captioner(tmp_path / "joined").loss(batch).loss_sum, loss)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (transformers.ViTMAEConfig(**VIT), "it returns different states for the same image"),
        (transformers.ViTConfig(**VIT | {"image_size": 32}), "it fails on an image of (64, 64): "),
    ],
)
def test_unsuitable_encoders_are_refused_with_the_reason(
    config: Any, why: str, tmp_path: Path
) -> None:
    transformers.AutoModel.from_config(config).save_pretrained(tmp_path / "encoder")
    square_processor().save_pretrained(tmp_path / "encoder")
    with pytest.raises(ModelError) as caught:
        joined(tmp_path, "encoder", None)
    kind = config.model_type
    assert caught.value.what.startswith(f"a {kind!r} model cannot be the vision encoder: {why}")
    assert caught.value.where == "model.encoder"
    assert "MobileNetV2" in caught.value.fix


def test_building_does_not_change_batch_statistics() -> None:
    captioner = build_size("mobilenet-gpt2-tiny", tokenizer())
    norms = [m for m in captioner.model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms
    assert all((norm.running_mean == 0).all() for norm in norms)
    assert all((norm.running_var == 1).all() for norm in norms)


def test_the_builtin_size_needs_no_files() -> None:
    assert build("mobilenet-gpt2-tiny").model.config.encoder.grid_size == 4
