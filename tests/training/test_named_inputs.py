"""A family with several named inputs per image trains and captions like one with pixels alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from captune.data import decode_image
from captune.inference import caption_images
from captune.models import Captioner
from captune.recipe import GenerateConfig, Recipe
from captune.records import VisionInputs
from captune.training import train
from captune.training.hf.collator import CaptionCollator, inputs_batch
from support.models.two_scales import SummedCaptioner, TwoScaleCaptioner, as_family


@pytest.fixture
def twins(make_captioner, no_dropout):
    """Return a function that builds both captioners, with the same weights."""

    def make(recipe: Recipe) -> list[Captioner]:
        kinds = (TwoScaleCaptioner, SummedCaptioner)
        return [as_family(kind, no_dropout(make_captioner(recipe))) for kind in kinds]

    return make


def losses(folder: Path) -> list[float]:
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


def cramp(captioner: Captioner) -> None:
    """Let training batches of more than two images run out of memory."""
    real = captioner.loss

    def loss(batch, *args):
        if len(batch.image_ids) > 2 and captioner.model.training:
            raise torch.OutOfMemoryError("out of memory")
        return real(batch, *args)

    captioner.loss = loss


@pytest.mark.parametrize("engine", ["loop", "trainer"])
@pytest.mark.parametrize("frozen", [[], ["vision.first-1"]])
@pytest.mark.slow
def test_steps_of_accumulated_batches_equal_those_on_the_summed_pixels(
    tmp_path, shapes, make_recipe, twins, engine, frozen
) -> None:
    recipe = make_recipe(
        model__size="vit-gpt2-tiny", model__freeze=frozen, train__engine=engine, train__epochs=2
    )
    for name, captioner in zip(("two", "one"), twins(recipe), strict=True):
        train(captioner, shapes, recipe=recipe, run_folder=tmp_path / name)
    assert len(losses(tmp_path / "two")) == 6
    assert losses(tmp_path / "two") == losses(tmp_path / "one")


@pytest.mark.slow
def test_out_of_memory_halves_every_input(tmp_path, shapes, make_recipe, twins) -> None:
    recipe = make_recipe(model__size="vit-gpt2-tiny", train__micro_batch_size=8, train__epochs=1)
    two, one = twins(recipe)
    cramp(two)
    lines: list[str] = []
    train(two, shapes, recipe=recipe, run_folder=tmp_path / "two", say=lines.append)
    train(one, shapes, recipe=recipe, run_folder=tmp_path / "one")
    assert sum("micro batches halved" in line for line in lines) == 2
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-5)


def test_captions_equal_those_of_the_summed_pixels(shapes, make_recipe, twins) -> None:
    pictures = [(record.image_id, decode_image(record.image)) for record in shapes[1]]
    config = GenerateConfig(num_beams=2, max_new_tokens=6)
    two, one = (
        list(caption_images(captioner, pictures, config=config, batch_size=4))
        for captioner in twins(make_recipe(model__size="vit-gpt2-tiny"))
    )
    assert two == one


def test_the_collator_names_each_input(shapes, make_recipe, twins) -> None:
    two, _ = twins(make_recipe(model__size="vit-gpt2-tiny"))
    inputs = CaptionCollator(two)(shapes[1])
    assert inputs["overview"].shape == (6, 3, 16, 16)
    again = inputs_batch(inputs).vision_inputs
    assert again is not None
    assert again.tensors.keys() == {"detail", "overview"}
    assert torch.equal(again.tensors["detail"], inputs["detail"])


def test_inputs_of_different_numbers_of_images_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one row per image.*'a': 2, 'b': 1"):
        VisionInputs({"a": torch.zeros(2, 3), "b": torch.zeros(1, 3)})
