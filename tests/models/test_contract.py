"""The contract of every family in `captune.models.FAMILIES`: tiny models against slow twins.

A family without a tiny model in tests/support/models fails every test here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from captune.inference.decoding.decode import generate, plan_search, search
from captune.models import FAMILIES, SIZES, Captioner, load_captioner
from captune.recipe import GenerateConfig
from captune.records import CaptionBatch, VisionInputs
from support.models.slow_twins import gradients, loss_one_caption_per_row, plain_generate
from support.models.tiny_models import (
    ALL,
    FAMILY_MODELS,
    ONE_OF_EACH,
    ROWS,
    TINY_SIZES,
    build,
    build_wild,
    images,
    noise_pixels,
)
from support.models.wild_models import SPREADS

MODELS = [n for f in FAMILIES for n in FAMILY_MODELS.get(f, (f"no tiny model of {f}",))]
CNNS = FAMILY_MODELS["captune-conv-encoder-decoder"]
PARTS = ("vision", "text", "embeddings", "vision.first-1", "text.first-1")

every_model = pytest.mark.parametrize("name", MODELS)


def packed_batch(captioner: Captioner, rows: Sequence[Sequence[str]] = ROWS) -> CaptionBatch:
    return captioner.batch(rows, [str(i) for i in range(len(rows))], max_caption_tokens=20)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_tiny_models(family: str) -> None:
    row, names = FAMILIES[family], FAMILY_MODELS[family]
    for name in names:
        captioner = build(name)
        assert type(captioner.model) is row.model_class
        assert type(captioner) is row.captioner_class
        assert captioner.model.config.model_type == family
    # Model lists for tests that need not run on every model.
    assert set(names) & set(ONE_OF_EACH)
    assert set(names) & set(SPREADS)


def test_every_tiny_size_is_tested() -> None:
    assert set(TINY_SIZES) <= set(ALL)
    assert set(TINY_SIZES) <= set(SIZES)


@every_model
def test_loss_and_every_gradient_equal_plain_transformers(name: str) -> None:
    # 52 convolutions round differently for one and for three images, until a relu6 flips: one
    # image here, all in float64 below.
    rows = ROWS[:1] if name == "mobilenet-gpt2-tiny" else ROWS
    assert_equal_to_single_captions(build(name), rows, limit=1e-5)


@every_model
def test_loss_and_gradients_in_float64_differ_only_by_rounding(name: str) -> None:
    captioner = build_wild(name)
    captioner.model.to(torch.float64)
    if name not in CNNS:
        # transformers keeps the softmax of vision encoders in float32.
        captioner.freeze(["vision"])
    assert_equal_to_single_captions(captioner, ROWS, limit=1e-9)


def assert_equal_to_single_captions(
    captioner: Captioner, rows: Sequence[Sequence[str]], *, limit: float
) -> None:
    pixels = noise_pixels(len(rows)).to(captioner.model.dtype)
    packed = captioner.loss(
        replace(packed_batch(captioner, rows), vision_inputs=VisionInputs.of_pixels(pixels))
    )
    slow = loss_one_caption_per_row(captioner, rows, pixel_values=pixels)

    torch.testing.assert_close(packed.loss_sum, slow, rtol=limit, atol=limit)
    fast_gradients = gradients(captioner, packed.loss_sum)
    slow_gradients = gradients(captioner, slow)
    assert fast_gradients.keys() == slow_gradients.keys()
    for key, expected in slow_gradients.items():
        # Relative to the largest entry: sums of thousands of terms depend on their order.
        scale = max(1.0, float(expected.abs().max()))
        difference = float((fast_gradients[key] - expected).abs().max()) / scale
        assert difference <= limit, key


@every_model
def test_packed_captions_have_the_loss_of_one_caption_per_row(name: str) -> None:
    captioner = build(name)
    pixels = noise_pixels()
    single = [(i, caption) for i, row in enumerate(ROWS) for caption in row]
    with torch.no_grad():
        packed = captioner.loss(
            replace(packed_batch(captioner), vision_inputs=VisionInputs.of_pixels(pixels))
        )
        states = captioner.encode(pixels)[[i for i, _ in single]]
        one_per_row = captioner.loss_of(states, packed_batch(captioner, [[c] for _, c in single]))
    assert packed.num_tokens == one_per_row.num_tokens
    torch.testing.assert_close(packed.loss_sum, one_per_row.loss_sum, rtol=1e-5, atol=1e-5)


@every_model
def test_vision_inputs_keep_their_images_when_split_joined_and_moved(name: str) -> None:
    captioner = build(name)
    inputs = captioner.vision_inputs(images(3))
    whole = replace(packed_batch(captioner), vision_inputs=inputs)
    parts = [whole.rows(slice(at, at + 1)) for at in range(3)]
    again = VisionInputs.join([part.vision_inputs for part in reversed(parts)]).to("cpu")
    assert (len(inputs), len(again)) == (3, 3)
    assert again.tensors.keys() == inputs.tensors.keys()
    assert all(
        torch.equal(again.tensors[key].flip(0), inputs.tensors[key]) for key in inputs.tensors
    )
    with torch.no_grad():
        losses = [captioner.loss(part).loss_sum for part in parts]
        together = captioner.loss(whole).loss_sum
    torch.testing.assert_close(sum(losses), together, rtol=1e-5, atol=1e-4)


@every_model
def test_every_trainable_parameter_gets_a_gradient(name: str) -> None:
    captioner = build(name)
    loss = captioner.loss(
        replace(packed_batch(captioner), vision_inputs=VisionInputs.of_pixels(noise_pixels()))
    )
    found = gradients(captioner, loss.loss_sum)
    assert [n for n, _ in captioner.named_trainable() if n not in found] == []


@every_model
def test_cached_features_give_the_loss_and_gradients_of_pixels(name: str) -> None:
    captioner = build(name)
    captioner.freeze([supported(captioner, "vision.first-1")])
    pixels = noise_pixels()
    batch = packed_batch(captioner)
    from_pixels = captioner.loss(
        replace(batch, vision_inputs=VisionInputs.of_pixels(pixels))
    ).loss_sum
    cached = captioner.encode_frozen(pixels)
    from_cache = captioner.loss(replace(batch, vision_features=cached)).loss_sum

    assert torch.equal(from_pixels, from_cache)
    expected, found = gradients(captioner, from_pixels), gradients(captioner, from_cache)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[key], found[key]) for key in expected)


@pytest.mark.parametrize("num_beams", [1, 4])
@pytest.mark.parametrize("prompt", ["", "a red"])
@every_model
def test_captions_equal_those_of_plain_generate(name: str, prompt: str, num_beams: int) -> None:
    captioner = build_wild(name)
    pixels = noise_pixels(2)
    config = GenerateConfig(num_beams=num_beams, max_new_tokens=8, prompt=prompt)
    task = plan_search(captioner, ["0", "1"], config=config)
    assert len(task.prompt_ids) == 1 + len(prompt.split())
    with torch.inference_mode():
        # One by one: matrix products of different shapes round differently.
        states = torch.cat([captioner.encode(image[None]) for image in pixels])
        ours = [found.token_ids for found in search(captioner, states, task=task)]
    prefix = task.prompt_ids if prompt else ()
    assert ours == [
        plain_generate(captioner, image[None], config, prefix=prefix) for image in pixels
    ]


@every_model
def test_a_template_has_no_loss_and_is_not_part_of_captions(name: str) -> None:
    captioner = with_template(build(name))
    assert captioner.encode_caption("grass", 20).token_ids[:3] == captioner.prefix_ids()
    batch = replace(packed_batch(captioner), vision_inputs=VisionInputs.of_pixels(noise_pixels()))
    slow = loss_one_caption_per_row(captioner, ROWS, pixel_values=noise_pixels())
    torch.testing.assert_close(captioner.loss(batch).loss_sum, slow, rtol=1e-5, atol=1e-4)


@every_model
def test_captions_continue_a_template_like_plain_generate(name: str) -> None:
    captioner = with_template(build_wild(name))
    pixels = noise_pixels(1)
    config = GenerateConfig(num_beams=3, max_new_tokens=8, prompt="a red")
    prefix = captioner.prefix_ids("a red")
    assert prefix[:3] == captioner.prefix_ids()
    expected = plain_generate(captioner, pixels, config, prefix=prefix)
    with torch.inference_mode():
        states = captioner.encode(pixels)
        prediction = generate(captioner, states, image_ids=["0"], config=config)[0]
    words = [token for token in expected if token != captioner.eos_token_id]
    assert prediction.caption == captioner.decode([*prefix[3:], *words])
    assert prediction.num_tokens == len(expected)


@every_model
def test_a_saved_folder_loads_as_the_same_captioner(name: str, tmp_path: Path) -> None:
    before = build_wild(name)
    before.save(tmp_path)
    after = load_captioner(tmp_path)

    assert type(after) is type(before)
    old, new = before.model.state_dict(), after.model.state_dict()
    assert old.keys() == new.keys()
    assert all(torch.equal(old[key], new[key]) for key in old)
    # A tie that is lost counts twice.
    assert count(after) == count(before)
    assert head_is_tied(after) is head_is_tied(before)
    for id_name in ("bos_token_id", "eos_token_id", "pad_token_id", "max_positions"):
        assert getattr(after, id_name) == getattr(before, id_name)
    caption = ROWS[0][0]
    assert after.encode_caption(caption, 20) == before.encode_caption(caption, 20)
    assert torch.equal(after.pixel_values(images(3)), before.pixel_values(images(3)))


@pytest.mark.parametrize("part", PARTS)
@every_model
def test_a_step_changes_every_parameter_except_those_of_the_frozen_part(
    name: str, part: str
) -> None:
    captioner = build(name)
    learning = dict(captioner.named_trainable())
    captioner.freeze([supported(captioner, part)])
    before = {key: value.detach().clone() for key, value in learning.items()}
    loss = captioner.loss(
        replace(packed_batch(captioner), vision_inputs=VisionInputs.of_pixels(noise_pixels()))
    )
    loss.loss_sum.backward()
    torch.optim.SGD([value for _, value in captioner.named_trainable()], lr=1e-2).step()
    changed = {key for key, value in learning.items() if not torch.equal(value, before[key])}
    assert changed == {key for key, _ in captioner.named_trainable()}
    assert changed < learning.keys()


@every_model
def test_part_sizes_count_every_parameter_once(name: str) -> None:
    captioner = build(name)
    captioner.freeze(["vision"])
    sizes = captioner.part_sizes()
    assert sum(s.total for s in sizes) == count(captioner)
    learning = sum(p.numel() for _, p in captioner.named_trainable())
    assert sum(s.trainable for s in sizes) == learning
    assert next(s for s in sizes if s.name == "vision").trainable == 0


def with_template(captioner: Captioner) -> Captioner:
    """Return the captioner with two more tokens between the start token and every caption."""
    kind = type(captioner)

    class Templated(kind):  # type: ignore[misc, valid-type]
        def prefix_ids(self, prompt: str = "") -> tuple[int, ...]:
            start, *words = super().prefix_ids(prompt)
            return (start, 7, 9, *words)

    return Templated(captioner.model, captioner.tokenizer, captioner.image_processor)


def supported(captioner: Captioner, part: str) -> str:
    """Return the part, or all of vision for an encoder with one stage (Swin, BEiT)."""
    in_one_piece = len(captioner.parts().vision_layers) == 1
    return "vision" if part.startswith("vision.first") and in_one_piece else part


def count(captioner: Captioner) -> int:
    """Count parameters, shared ones once."""
    return sum(p.numel() for p in captioner.model.parameters())


def head_is_tied(captioner: Captioner) -> bool:
    model = captioner.model
    text = getattr(model, "text_decoder", None) or getattr(model, "decoder", model)
    return text.get_input_embeddings().weight is text.get_output_embeddings().weight
