"""Autocast, SDPA and gradient checkpointing change speed and memory, not the results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from captune.errors import ModelError
from captune.models import Captioner, additive_mask, load_captioner, packed_causal_mask
from captune.records import CaptionBatch, VisionInputs
from support.counting_sdpa import counting_sdpa
from support.models.slow_twins import gradients
from support.models.tiny_models import ALL, ONE_OF_EACH, ROWS, build, noise_pixels

WAYS = [(name, kind) for name in ONE_OF_EACH for kind in ("eager", "sdpa")]


def batch_of(captioner: Captioner) -> CaptionBatch:
    batch = captioner.batch(ROWS, ["a", "b", "c"], max_caption_tokens=20)
    return replace(batch, vision_inputs=VisionInputs.of_pixels(noise_pixels()))


@pytest.mark.parametrize("name", ALL)
def test_sdpa_gives_the_loss_and_gradients_of_eager_attention(name: str) -> None:
    captioner = build(name)
    batch = batch_of(captioner)
    eager = captioner.loss(batch).loss_sum
    expected = gradients(captioner, eager)
    captioner.set_attention("sdpa")
    sdpa = captioner.loss(batch).loss_sum
    found = gradients(captioner, sdpa)
    with counting_sdpa() as calls:
        captioner.loss(batch)
    assert calls
    torch.testing.assert_close(sdpa, eager, rtol=1e-5, atol=1e-5)
    for key, value in expected.items():
        scale = max(1.0, float(value.abs().max()))
        torch.testing.assert_close(found[key] / scale, value / scale, rtol=1e-5, atol=1e-5)
    captioner.set_attention("eager")
    assert torch.equal(captioner.loss(batch).loss_sum, eager)


@pytest.mark.parametrize("name", ["blip-tiny", "git-tiny"])
def test_an_unknown_kind_of_attention_is_reported(name: str) -> None:
    captioner = build(name)
    kind: Any = "flex"
    with pytest.raises(ModelError) as caught:
        captioner.set_attention(kind)
    assert caught.value.what == f"the family {captioner.family} does not support 'flex' attention"
    assert caught.value.fix == "use eager or sdpa"


@pytest.mark.parametrize(
    ("name", "device", "kind"),
    [
        ("vit-gpt2-tiny", "cpu", "eager"),
        ("vit-gpt2-tiny", "cuda", "sdpa"),
        ("vit-gpt2-tiny", "xpu:1", "sdpa"),
    ],
)
def test_accelerators_use_sdpa(name: str, device: str, kind: str) -> None:
    captioner = build(name)
    captioner.choose_attention(torch.device(device))
    assert captioner.model.config.get_text_config()._attn_implementation == kind


# Attention calls per forward pass of the vision encoder and of the text decoder: none in a CNN,
# two per decoder layer.
SDPA_CALLS = {
    "blip-tiny": (3, 6),
    "git-tiny": (2, 3),
    "vit-gpt2-tiny": (3, 6),
    "vit-bert-tiny": (3, 4),
    "deit-gpt2-tiny": (3, 6),
    "beit-gpt2-tiny": (3, 6),
    "swin-gpt2-tiny": (4, 6),
    "mobilenet-gpt2-tiny": (0, 4),
    "resnet-bert": (0, 4),
    "convnext-gpt2": (0, 4),
    "wide-vit-gpt2": (3, 2),
    "untied-bert": (3, 4),
}


@pytest.mark.parametrize("name", ALL)
def test_every_layer_uses_the_chosen_attention_when_new_and_when_reloaded(
    name: str, tmp_path: Path
) -> None:
    fresh = build(name)
    fresh.save(tmp_path)
    for captioner in (fresh, load_captioner(tmp_path)):
        captioner.choose_attention(torch.device("cuda"))
        assert sdpa_calls(captioner) == SDPA_CALLS[name]
        captioner.choose_attention(torch.device("cpu"))
        assert sdpa_calls(captioner) == (0, 0)


@torch.no_grad()
def sdpa_calls(captioner: Captioner) -> tuple[int, int]:
    """Count calls while images are encoded, and while their captions are decoded."""
    batch = batch_of(captioner)
    with counting_sdpa() as calls:
        states = captioner.encode(batch.vision_inputs)
        encoding = len(calls)
        captioner.loss_of(states, batch)
    return encoding, len(calls) - encoding


def test_a_model_too_large_for_the_device_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    captioner = build("vit-gpt2-tiny")

    def run_out_of_memory(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    monkeypatch.setattr(captioner.model, "to", run_out_of_memory)
    with pytest.raises(ModelError, match="does not fit into the memory of cuda:0"):
        captioner.move_to(torch.device("cuda", 0))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_features_cached_in_half_precision_are_accepted(name: str, dtype: torch.dtype) -> None:
    captioner = build(name)
    captioner.freeze(["vision"])
    batch = batch_of(captioner)
    cached = captioner.encode_frozen(batch.vision_inputs).to(dtype)
    half = captioner.loss(replace(batch, vision_inputs=None, vision_features=cached))
    torch.testing.assert_close(half.loss_sum, captioner.loss(batch).loss_sum, rtol=0.02, atol=0.1)


@pytest.mark.parametrize(("name", "kind"), WAYS)
def test_bf16_autocast_gives_a_similar_loss_and_finite_gradients(name: str, kind: str) -> None:
    captioner = build(name)
    captioner.set_attention(kind)
    batch = batch_of(captioner)
    full = captioner.loss(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = captioner.loss(batch)
    assert half.loss_sum.dtype == torch.float32
    assert half.num_tokens == full.num_tokens
    torch.testing.assert_close(half.loss_sum, full.loss_sum, rtol=0.05, atol=0.5)
    found = gradients(captioner, half.loss_sum)
    assert all(torch.isfinite(gradient).all() for gradient in found.values())
    assert all(p.dtype == torch.float32 for p in captioner.model.parameters())


@pytest.mark.parametrize(("name", "kind"), WAYS)
def test_captions_do_not_see_each_other_under_autocast(name: str, kind: str) -> None:
    """float32's minimum becomes minus infinity in bf16: no row may become NaN, none may leak."""
    captioner = build(name)
    captioner.set_attention(kind)
    batch = batch_of(captioner)
    ids = batch.input_ids.clone()
    second = batch.caption_ids[0] == 1
    ids[0, second] = (ids[0, second] + 7) % 20
    only_first = replace(batch, labels=batch.labels.masked_fill(batch.caption_ids != 0, -100))
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        before = captioner.loss(only_first).loss_sum
        after = captioner.loss(replace(only_first, input_ids=ids)).loss_sum
    assert torch.isfinite(before)
    assert torch.equal(before, after)


@pytest.mark.parametrize("name", ONE_OF_EACH)
@torch.inference_mode()
def test_half_precision_weights_use_masks_of_their_own_dtype(name: str) -> None:
    captioner = build(name)
    captioner.model.to(torch.bfloat16)
    loss = captioner.loss(batch_of(captioner)).loss_sum
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)


@pytest.mark.parametrize("name", ALL)
def test_gradient_checkpointing_gives_the_same_loss_and_gradients(name: str) -> None:
    captioner = build(name)
    captioner.freeze(["embeddings"])
    captioner.train_mode()
    batch = batch_of(captioner)
    # Dropout is on: the second pass through a layer must drop the same values as the first.
    plain = seeded_loss(captioner, batch)
    expected = gradients(captioner, plain)

    captioner.enable_gradient_checkpointing()
    calls = count_block_calls(captioner)
    loss = seeded_loss(captioner, batch)
    forward_calls = len(calls)
    found = gradients(captioner, loss)
    assert len(calls) > forward_calls > 0
    assert torch.equal(loss, plain)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-5, atol=1e-6)


def seeded_loss(captioner: Captioner, batch: CaptionBatch) -> torch.Tensor:
    torch.manual_seed(0)
    return captioner.loss(batch).loss_sum


def count_block_calls(captioner: Captioner) -> list[int]:
    """Return a list that grows by one per pass through a text layer, including recomputed ones."""
    calls: list[int] = []
    inner = next(captioner.parts().text_layers[-1].children())
    inner.register_forward_hook(lambda *_: calls.append(1))
    return calls


def test_the_packed_mask_equals_one_written_by_hand() -> None:
    mask = packed_causal_mask(torch.tensor([[0, 0, 1, -1]]), torch.float32)
    no = torch.finfo(torch.float32).min
    assert mask.tolist() == [
        [[[0.0, no, no, no], [0.0, 0.0, no, no], [no, no, 0.0, no], [no, no, no, 0.0]]]
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_additive_masks_hide_positions_with_the_minimum_of_their_dtype(dtype: torch.dtype) -> None:
    mask = additive_mask(torch.tensor([True, False]), dtype)
    assert mask.dtype == dtype
    assert mask.tolist() == [0.0, torch.finfo(dtype).min]
