"""One test per trap of transformers that has spoiled a training run."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer, GPT2Config

from captune.data import decode_image
from captune.models import Captioner, build_size, new_captioner
from captune.models.encoder_decoder import EncoderDecoderCaptioner
from captune.recipe import ModelConfig
from captune.records import IGNORE_INDEX, VisionInputs
from support.models.slow_twins import greedy_without_cache, plain_logits
from support.models.tiny_models import ROWS, build, noise_pixels, tiny_encoder, tokenizer


@pytest.fixture(scope="module")
def gpt2_tokenizer(real_data: Path) -> Any:
    return AutoTokenizer.from_pretrained(real_data / "weights/gpt2-tokenizer")


@pytest.fixture(scope="module")
def bert_tokenizer(real_data: Path) -> Any:
    return AutoTokenizer.from_pretrained(real_data / "weights/bert-base-uncased-vocab")


@pytest.mark.real_data
def test_gpt2_captions_get_the_end_token_that_the_tokenizer_omits(gpt2_tokenizer: Any) -> None:
    captioner = build_size("vit-gpt2-tiny", gpt2_tokenizer)
    assert gpt2_tokenizer("a dog").input_ids == [64, 3290]
    assert captioner.encode_caption("a dog", 20).token_ids == (50256, 64, 3290, 50256)


@pytest.mark.real_data
def test_gpt2_learns_the_end_token_although_padding_is_the_same_token(
    gpt2_tokenizer: Any,
) -> None:
    captioner = build_size("vit-gpt2-tiny", gpt2_tokenizer)
    assert captioner.pad_token_id == captioner.eos_token_id == 50256
    batch = captioner.batch([["a dog"], ["a dog on grass"]], ["x", "y"], max_caption_tokens=9)
    no = IGNORE_INDEX
    assert batch.input_ids[0].tolist() == [50256, 64, 3290, 50256, 50256, 50256]
    assert batch.labels[0].tolist() == [no, 64, 3290, 50256, no, no]
    assert batch.caption_ids[0].tolist() == [0, 0, 0, 0, -1, -1]
    assert batch.num_label_tokens == 3 + 5


@pytest.mark.real_data
def test_building_does_not_change_the_tokenizer_that_was_given(gpt2_tokenizer: Any) -> None:
    before = len(gpt2_tokenizer), gpt2_tokenizer.pad_token
    build_size("blip-tiny", gpt2_tokenizer)
    assert (len(gpt2_tokenizer), gpt2_tokenizer.pad_token) == before


@pytest.mark.real_data
def test_blip_over_the_real_bert_vocabulary_starts_with_a_dec_token(bert_tokenizer: Any) -> None:
    captioner = build_size("blip-tiny", bert_tokenizer)
    # The tokenizer alone would start with [CLS], 101; the published [DEC] is 30522.
    assert captioner.encode_caption("a dog", 20).token_ids == (30522, 1037, 3899, 102)
    assert captioner.tokenizer.convert_ids_to_tokens(30522) == "[DEC]"


def test_blip_trains_on_the_start_token_that_its_generate_uses() -> None:
    captioner = build("blip-tiny")
    generated = captioner.model.generate(pixel_values=noise_pixels(1), max_new_tokens=1)
    assert captioner.encode_caption("a dog", 20).token_ids[0] == int(generated[0, 0])
    assert captioner.tokenizer.convert_ids_to_tokens(int(generated[0, 0])) == "[DEC]"


def test_blip_ends_with_the_token_that_its_generate_stops_at() -> None:
    captioner = build("blip-tiny")
    # A different eos_token_id in the config has no effect: generate passes sep_token_id.
    captioner.model.config.text_config.eos_token_id = 2
    assert captioner.eos_token_id == captioner.tokenizer.sep_token_id == 3


@pytest.mark.parametrize("name", ["blip-tiny", "git-tiny", "vit-gpt2-tiny", "vit-bert-tiny"])
def test_every_family_trains_on_the_start_token_it_generates_with(name: str) -> None:
    captioner = build(name)
    generated = captioner.model.generate(pixel_values=noise_pixels(1), max_new_tokens=1)
    assert captioner.bos_token_id == int(generated[0, 0])


def test_padding_has_no_loss() -> None:
    captioner = build("blip-tiny")
    batch = captioner.batch(ROWS, ["a", "b", "c"], max_caption_tokens=20)
    assert (batch.labels[batch.caption_ids < 0] == IGNORE_INDEX).all()
    # Three start tokens in the first row, one and two in the others.
    assert batch.num_label_tokens == int((batch.caption_ids >= 0).sum()) - 6


def test_git_hidden_states_have_no_image_positions() -> None:
    captioner = build("git-tiny")
    batch = captioner.batch([["a dog"]], ["x"], max_caption_tokens=9)
    pixels = noise_pixels(1)
    states = captioner.encode(pixels)
    assert states.shape[1] == 65
    plain = captioner.model(input_ids=batch.input_ids, pixel_values=pixels).logits
    assert plain.shape[1] == 65 + 4
    assert plain_logits(captioner, pixels, batch.input_ids).shape[1] == 4


def test_joined_decoders_are_configured_as_decoders() -> None:
    for name in ("vit-gpt2-tiny", "vit-bert-tiny", "mobilenet-gpt2-tiny"):
        decoder = build(name).model.config.decoder
        assert decoder.is_decoder is True
        assert decoder.add_cross_attention is True


def test_transformers_refuses_a_decoder_config_without_cross_attention() -> None:
    # Shows that the trap still exists: without it, join.py need not set the two flags.
    from transformers import AutoModelForCausalLM, VisionEncoderDecoderModel

    plain = GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=20)
    decoder = AutoModelForCausalLM.from_config(plain)
    model = VisionEncoderDecoderModel(encoder=tiny_encoder("vit"), decoder=decoder)
    with pytest.raises(ValueError, match="cross-attention"):
        model(pixel_values=noise_pixels(1), decoder_input_ids=torch.tensor([[1]]))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "I;16", "1", "LA"])
def test_every_pixel_format_becomes_model_input(mode: str) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (40, 30), dtype=np.uint8)
    grey = Image.fromarray(levels)
    image = (
        Image.fromarray(levels.astype(np.uint16) * 257) if mode == "I;16" else grey.convert(mode)
    )
    assert image.mode == mode
    encoded = io.BytesIO()
    image.save(encoded, "TIFF" if mode == "CMYK" else "PNG")
    rgb = decode_image(encoded.getvalue(), max_pixels=10_000)
    pixels = build("vit-gpt2-tiny").pixel_values([rgb])
    assert pixels.shape == (1, 3, 64, 64)
    assert pixels.dtype == torch.float32


def test_batch_norms_stay_in_eval_mode_while_training() -> None:
    captioner = build("mobilenet-gpt2-tiny")
    captioner.train_mode()
    norms = [m for m in captioner.model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) == 52
    before = [norm.running_mean.clone() for norm in norms]
    batch = captioner.batch(ROWS, ["a", "b", "c"], max_caption_tokens=20)
    captioner.loss(
        replace(batch, vision_inputs=VisionInputs.of_pixels(noise_pixels()))
    ).loss_sum.backward()
    assert not any(norm.training for norm in norms)
    assert all(torch.equal(a, b.running_mean) for a, b in zip(before, norms, strict=True))
    # Their weights and biases are trained.
    assert all(norm.weight.grad is not None for norm in norms)


def test_dropout_is_on_only_where_weights_are_trained() -> None:
    captioner = build("vit-gpt2-tiny")
    captioner.freeze(["vision", "text.first-1"])
    captioner.train_mode()
    decoder = captioner.model.decoder.transformer
    assert not any(m.training for m in captioner.model.encoder.modules())
    assert not any(m.training for m in decoder.h[0].modules())
    assert all(m.training for m in decoder.h[1].modules())
    captioner.eval_mode()
    assert not any(m.training for m in captioner.model.modules())


def test_a_special_token_spelled_in_a_caption_does_not_end_it() -> None:
    captioner = build("blip-tiny")
    honest = captioner.encode_caption("a dog and a cat", 20).token_ids
    assert captioner.encode_caption("a dog [SEP] and [DEC] a [PAD] cat", 20).token_ids == honest


@pytest.mark.real_data
def test_the_special_token_of_gpt2_spelled_in_a_caption_does_not_end_it(
    gpt2_tokenizer: Any,
) -> None:
    captioner = build_size("vit-gpt2-tiny", gpt2_tokenizer)
    # It is also GPT-2's unknown token; with other tokenizers, captions keep unknown tokens.
    spelt = captioner.encode_caption("a<|endoftext|> dog", 20).token_ids
    assert spelt == captioner.encode_caption("a dog", 20).token_ids


def test_unknown_words_stay_in_a_caption() -> None:
    captioner = build("blip-tiny")
    unknown = captioner.tokenizer.unk_token_id
    assert captioner.encode_caption("a zebra", 20).token_ids[2] == unknown


@pytest.mark.parametrize(
    ("limit", "length", "cut"),
    [(7, 7, False), (6, 6, True), (3, 3, True), (2, 2, True), (1, 2, True)],
)
def test_captions_are_truncated_before_their_end_token(limit: int, length: int, cut: bool) -> None:
    captioner = build("vit-gpt2-tiny")
    encoded = captioner.encode_caption("a dog and a cat", limit)
    assert len(encoded.token_ids) == length
    assert encoded.token_ids[0] == captioner.bos_token_id
    assert encoded.token_ids[-1] == captioner.eos_token_id
    assert encoded.was_cut is cut


def test_captions_never_exceed_the_position_table() -> None:
    captioner = build("convnext-gpt2")
    assert captioner.max_positions == 32
    assert len(captioner.encode_caption("dog " * 100, 1000).token_ids) == 32


def test_decoding_drops_special_tokens_and_invalid_ids() -> None:
    captioner = build("blip-tiny")
    ids = captioner.encode_caption("a dog's mat .", 20).token_ids
    assert captioner.decode([*ids, -100, 0]) == captioner.decode(ids)


def test_special_ids_are_set_in_every_config_that_transformers_reads() -> None:
    model = build("vit-gpt2-tiny").model
    for config in (model.config, model.config.decoder, model.generation_config):
        ids = (config.decoder_start_token_id, config.eos_token_id, config.pad_token_id)
        assert ids == (2, 3, 0)


def test_generation_stops_at_the_end_token() -> None:
    captioner = build("vit-gpt2-tiny")
    captioner.model.decoder.lm_head.weight.data[3] *= 50
    pixels = noise_pixels(8)
    ended = 0
    for image in pixels:
        ids = greedy_without_cache(captioner, image[None], max_new_tokens=12)
        plain = captioner.model.generate(
            pixel_values=image[None], max_new_tokens=12, do_sample=False, num_beams=1
        )
        assert plain[0, 1:].tolist() == ids
        ended += ids[-1] == 3
    assert ended > 0


def test_a_decoder_of_an_unknown_type_is_named_and_refused() -> None:
    from transformers import AutoModelForCausalLM, OPTConfig, VisionEncoderDecoderModel

    from captune.errors import ModelError

    opt = OPTConfig(
        vocab_size=20,
        hidden_size=16,
        num_hidden_layers=1,
        ffn_dim=16,
        num_attention_heads=2,
        word_embed_proj_dim=16,
    )
    model = VisionEncoderDecoderModel(
        encoder=tiny_encoder("vit"), decoder=AutoModelForCausalLM.from_config(opt)
    )
    with pytest.raises(ModelError) as caught:
        EncoderDecoderCaptioner(model, tokenizer(), None)
    assert caught.value.what == "decoder of type 'opt' is not supported"
    assert caught.value.fix == "use one of: gpt2, bert"


def test_the_same_seed_gives_the_same_new_weights_and_does_not_change_the_global_seed() -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first = new_captioner(ModelConfig(size="vit-gpt2-tiny"), ["a dog"] * 3, seed=5)
    assert torch.equal(torch.rand(1), expected)
    second = new_captioner(ModelConfig(size="vit-gpt2-tiny"), ["a dog"] * 3, seed=5)
    other = new_captioner(ModelConfig(size="vit-gpt2-tiny"), ["a dog"] * 3, seed=6)
    assert _weights_equal(first, second)
    assert not _weights_equal(first, other)


def _weights_equal(one: Captioner, two: Captioner) -> bool:
    a, b = one.model.state_dict(), two.model.state_dict()
    return all(torch.equal(a[key], b[key]) for key in a)
