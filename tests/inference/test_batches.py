"""Batches formed by the caller give the captions of `stream`, one batch per decoding setting."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import captune
from captune.inference import LoadedCaptioner, decoding_config
from captune.recipe import GenerateConfig
from support.models.tiny_models import build


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedCaptioner:
    folder = tmp_path_factory.mktemp("batches")
    build("blip-tiny", spread=2.5).save(folder / "model")
    return captune.load(folder / "model", device="cpu", precision="fp32")


def photographs(count: int) -> list[Image.Image]:
    generator = np.random.default_rng(3)
    pixels = generator.integers(0, 256, (count, 40, 50, 3), dtype=np.uint8)
    return [Image.fromarray(one) for one in pixels]


def check_equal(model: LoadedCaptioner, *configs: GenerateConfig) -> None:
    images = photographs(3)
    batches = model.open_batches()
    ready = [(str(place), batches.prepare(image)) for place, image in enumerate(images)]
    found = batches.caption(ready, configs)
    for number, config in enumerate(configs):
        named = ((str(place), image) for place, image in enumerate(images))
        expected = list(model.stream(named, config=config, decode="inline"))
        assert [each[number].caption for each in found] == [one.caption for one in expected]
        logprobs = [one.mean_logprob for one in expected]
        assert [each[number].mean_logprob for each in found] == pytest.approx(logprobs, rel=1e-5)


def test_a_batch_gives_the_captions_of_a_stream(model: LoadedCaptioner) -> None:
    greedy = model.complete(decoding_config({"num_beams": 1, "max_new_tokens": 6}))
    check_equal(model, greedy)


def test_one_batch_is_decoded_in_several_ways(model: LoadedCaptioner) -> None:
    beams = model.complete(decoding_config({"num_beams": 3, "max_new_tokens": 6}))
    sampled = [
        model.complete(decoding_config({"do_sample": True, "max_new_tokens": 6, "seed": seed}))
        for seed in (1, 2)
    ]
    check_equal(model, beams, *sampled)


@pytest.mark.parametrize("name", ["blip-tiny", "vit-gpt2-tiny"])
@pytest.mark.parametrize("precision", ["auto", "bf16"])
def test_the_caption_of_an_image_does_not_depend_on_how_many_came_before(
    tmp_path: Path, name: str, precision: str
) -> None:
    build(name, spread=2.5).save(tmp_path / "model")
    model = captune.load(tmp_path / "model", device="cpu", precision=precision)
    config = model.complete(decoding_config({"num_beams": 1, "max_new_tokens": 6}))
    batches = model.open_batches()
    first, *others = [batches.prepare(image) for image in photographs(4)]
    alone = batches.caption([("0", first)], [config])
    for _ in range(10):
        batches.caption([("1", others[0])], [config])
    batches.caption([(str(place), one) for place, one in enumerate(others)], [config])
    assert batches.caption([("0", first)], [config]) == alone
