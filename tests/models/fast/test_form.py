"""The inference form computes what the model does, with the model's current weights."""

from __future__ import annotations

import copy

import pytest
import torch

from captune.inference import generate
from captune.models import Captioner, exact_enough, fast_text, inference_form
from captune.models.blip import BlipCaptioner
from captune.models.fast.form import PlainText
from captune.models.fast.text import FastText
from captune.recipe import GenerateConfig
from support.models.wild_models import SPREADS, noise_images, wild_captioner

GREEDY = GenerateConfig(num_beams=1, max_new_tokens=12)


def _form(captioner: Captioner, dtype: torch.dtype = torch.float32):
    return inference_form(captioner, vision=dtype, text=dtype)


def _captions(captioner, states, backend):
    ids = [str(number) for number in range(len(states))]
    found = generate(captioner, states, image_ids=ids, config=GREEDY, backend=backend)
    return [prediction.caption for prediction in found]


@pytest.mark.parametrize("size", SPREADS)
@torch.inference_mode()
def test_vision_states_equal_the_models_up_to_rounding(size):
    captioner = wild_captioner(size)
    pixels = noise_images()
    expected = captioner.encode(pixels)
    torch.testing.assert_close(_form(captioner).encode(pixels), expected, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("size", SPREADS)
@torch.inference_mode()
def test_bf16_states_are_no_further_from_the_models_than_those_of_autocast(size):
    captioner = wild_captioner(size)
    pixels = noise_images()
    exact = captioner.encode(pixels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        usual = (captioner.encode(pixels) - exact).abs().mean()
    fast = (_form(captioner, torch.bfloat16).encode(pixels) - exact).abs().mean()
    assert 0 < fast <= 1.1 * usual


@pytest.mark.parametrize("size", SPREADS)
@torch.inference_mode()
def test_bf16_logits_are_no_further_from_the_models_than_those_of_autocast(size):
    captioner = wild_captioner(size)
    states = captioner.encode(noise_images())
    prompt = torch.full((len(states), 1), captioner.bos_token_id)
    step = {
        "position_ids": torch.zeros_like(prompt),
        "attention_mask": torch.zeros(len(states), 1, 1, 1),
    }

    def logits(backend):
        hidden = backend.hidden_states(backend.start_decoding(states), prompt, **step)
        return backend.lm_head(hidden).float()

    exact = logits(captioner)
    fast = (logits(fast_text(captioner, torch.bfloat16)) - exact).abs().mean()
    usual = (logits(PlainText(captioner, torch.bfloat16)) - exact).abs().mean()
    assert 0 < fast <= 1.2 * usual


@torch.inference_mode()
def test_a_form_in_the_models_own_precision_uses_changed_weights():
    captioner = wild_captioner("blip-tiny")
    form = _form(captioner)
    captioner.model.text_decoder.bert.encoder.layer[0].attention.self.query.weight.mul_(0.5)
    captioner.model.vision_model.encoder.layers[0].mlp.fc1.weight.mul_(0.5)
    pixels = noise_images()
    states = form.encode(pixels)
    torch.testing.assert_close(states, captioner.encode(pixels), atol=2e-4, rtol=1e-4)
    assert _captions(captioner, states, form.text) == _captions(captioner, states, captioner)


@pytest.mark.parametrize("size", SPREADS)
def test_the_fast_form_copies_no_weights_in_their_own_precision(size):
    captioner = wild_captioner(size)
    text = fast_text(captioner, torch.float32)
    own = {p.untyped_storage().data_ptr() for p in captioner.model.parameters()}
    layer = text._side.layers[0]
    linears = [*layer.own.project.layers, layer.own.output, layer.feed_forward.up]
    assert {one.weight.untyped_storage().data_ptr() for one in linears} <= own


def test_a_replaced_layer_is_decoded_by_transformers():
    captioner = copy.deepcopy(wild_captioner("vit-bert-tiny"))
    attention = captioner.model.decoder.bert.encoder.layer[0].attention.self

    class Doubled(torch.nn.Linear):
        def forward(self, inputs):
            return 2 * super().forward(inputs)

    doubled = Doubled(attention.query.in_features, attention.query.out_features)
    doubled.load_state_dict(attention.query.state_dict())
    assert isinstance(fast_text(captioner, torch.float32), FastText)
    attention.query = doubled
    assert isinstance(fast_text(captioner, torch.float32), PlainText)


def test_a_text_side_with_hooks_is_decoded_by_transformers():
    captioner = copy.deepcopy(wild_captioner("git-tiny"))
    layer = captioner.model.git.encoder.layer[0]
    layer.register_forward_hook(lambda *_: None)
    assert isinstance(fast_text(captioner, torch.float32), PlainText)


def test_a_gpt2_with_upcast_attention_is_decoded_by_transformers():
    captioner = copy.deepcopy(wild_captioner("vit-gpt2-tiny"))
    captioner.model.decoder.config.reorder_and_upcast_attn = True
    assert isinstance(fast_text(captioner, torch.bfloat16), PlainText)


@torch.inference_mode()
def test_a_subclass_keeps_its_own_encode_and_steps():
    captioner = wild_captioner("blip-tiny")

    class Halved(BlipCaptioner):
        def encode(self, inputs):
            return super().encode(inputs) / 2

        def lm_head(self, hidden_states):
            return -super().lm_head(hidden_states)

    halved = Halved(captioner.model, captioner.tokenizer, captioner.image_processor)
    form = _form(halved)
    pixels = noise_images(2)
    torch.testing.assert_close(form.encode(pixels), captioner.encode(pixels) / 2)
    hidden = torch.randn(1, 1, 128)
    torch.testing.assert_close(form.text.lm_head(hidden), -captioner.lm_head(hidden))


def test_a_form_no_longer_fits_once_a_weight_has_changed():
    captioner = wild_captioner("blip-tiny")
    half = {"vision": torch.bfloat16, "text": torch.bfloat16}
    form = inference_form(captioner, **half)
    assert form.fits(captioner, **half)
    assert not form.fits(captioner, vision=torch.float32, text=torch.bfloat16)
    with torch.no_grad():
        next(captioner.model.parameters()).add_(1)
    assert not form.fits(captioner, **half)


@pytest.mark.parametrize(
    ("size", "sides"),
    [
        ("blip-tiny", (torch.bfloat16, torch.float16)),
        ("git-tiny", (torch.bfloat16, torch.float16)),
        ("vit-bert-tiny", (torch.bfloat16, torch.float16)),
        ("vit-gpt2-tiny", (torch.bfloat16, torch.bfloat16)),
        ("mobilenet-gpt2-tiny", (torch.float32, torch.bfloat16)),
    ],
)
def test_auto_chooses_more_exact_weights_for_a_side_whose_captions_bf16_would_change(size, sides):
    assert exact_enough(wild_captioner(size), torch.bfloat16) == sides


def test_auto_without_bf16_keeps_the_vision_side_in_float32():
    sides = exact_enough(wild_captioner("blip-tiny"), torch.float32)
    assert sides == (torch.float32, torch.float16)


def test_auto_keeps_text_layers_of_transformers_in_float32():
    captioner = copy.deepcopy(wild_captioner("git-tiny"))
    captioner.model.git.encoder.layer[0].register_forward_hook(lambda *_: None)
    assert exact_enough(captioner, torch.bfloat16)[1] == torch.float32


@torch.inference_mode()
def _next_logits(captioner, states, backend):
    """Return the logits after the start token."""
    prompt = torch.full((len(states), 1), captioner.bos_token_id)
    hidden = backend.hidden_states(
        backend.start_decoding(states),
        prompt,
        position_ids=torch.zeros_like(prompt),
        attention_mask=torch.zeros(len(states), 1, 1, 1),
    )
    return backend.lm_head(hidden).float()


@pytest.mark.parametrize("size", SPREADS)
def test_weights_in_float16_round_eight_times_less_than_bf16(size):
    captioner = wild_captioner(size)
    states = captioner.encode(noise_images()).detach()
    exact = _next_logits(captioner, states, captioner)

    def error(dtype):
        logits = _next_logits(captioner, states, fast_text(captioner, dtype))
        return float((logits - exact).abs().mean())

    # float16 has three bits more; activations are not rounded at all.
    assert 0 < error(torch.float16) < error(torch.bfloat16) / 8


@pytest.mark.parametrize("size", SPREADS)
def test_single_images_in_bf16_use_float16_weights_after_the_eighth(size):
    captioner = wild_captioner(size)
    states = captioner.encode(noise_images(3)).detach()
    form = _form(captioner, torch.bfloat16).text
    half = fast_text(captioner, torch.float16, image=torch.bfloat16)
    wide = fast_text(captioner, torch.bfloat16)
    for count, twin in (*[(1, wide)] * 8, (1, half), (2, half), (3, wide)):
        found = _next_logits(captioner, states[:count], form)
        torch.testing.assert_close(found, _next_logits(captioner, states[:count], twin))


@pytest.mark.parametrize("size", SPREADS)
def test_weights_in_float16_are_arranged_for_the_second_image_or_the_first_batch(size):
    captioner = wild_captioner(size)
    states = captioner.encode(noise_images(3)).detach()
    exact, half = fast_text(captioner, torch.float32), fast_text(captioner, torch.float16)
    halves = {"vision": torch.float32, "text": torch.float16}
    for counts in ((1, 1), (3, 1)):
        form = inference_form(captioner, **halves).text
        for turn, count in enumerate(counts):
            found = _next_logits(captioner, states[:count], form)
            twin = exact if (turn, count) == (0, 1) else half
            torch.testing.assert_close(found, _next_logits(captioner, states[:count], twin))


def test_a_weight_beyond_the_range_of_float16_keeps_its_precision():
    captioner = copy.deepcopy(wild_captioner("blip-tiny"))
    layer = captioner.model.text_decoder.bert.encoder.layer[0]
    with torch.no_grad():
        layer.output.dense.weight[0, 0] = 1e5
    text = fast_text(captioner, torch.float16)
    states = captioner.encode(noise_images(2)).detach()
    exact = _next_logits(captioner, states, captioner)
    found = _next_logits(captioner, states, text)
    # The mean error of float16 where all weights fit is 0.002 of the logits' spread.
    assert float((found - exact).abs().mean()) < 0.01 * float(exact.std())
