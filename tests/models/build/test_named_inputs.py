"""A family with several named inputs per image is loaded, and checked, like one with pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.nn import functional

from captune.errors import ModelError
from captune.models import load_captioner
from captune.models.families import FAMILIES
from captune.records import VisionInputs
from support.models.tiny_models import build, images
from support.models.two_scales import TwoScaleCaptioner, TwoScales, add_overview


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    build("vit-gpt2-tiny").save(folder)
    return folder


def use(monkeypatch: pytest.MonkeyPatch, kind: type[TwoScaleCaptioner]) -> None:
    """Let the models of ViT with GPT-2 be captioners of this family."""
    name = "vision-encoder-decoder"
    monkeypatch.setitem(FAMILIES, name, replace(FAMILIES[name], captioner_class=kind))


def test_a_saved_model_with_two_inputs_loads_unchanged(saved: Path, monkeypatch) -> None:
    plain = load_captioner(saved)
    use(monkeypatch, TwoScaleCaptioner)
    opened = load_captioner(saved)
    assert isinstance(opened, TwoScaleCaptioner)
    inputs = opened.vision_inputs(images(2))
    assert inputs.tensors.keys() == {"detail", "overview"}
    with torch.inference_mode():
        expected = plain.encode(add_overview(**inputs.tensors))
        assert torch.equal(opened.encode(inputs), expected)


def test_an_input_that_the_model_does_not_accept_is_named_with_its_shape(saved, monkeypatch):
    class Halved(TwoScales):
        def __call__(self, image: Image.Image) -> VisionInputs:
            tensors = super().__call__(image).tensors
            return VisionInputs({n: functional.avg_pool2d(t, 2) for n, t in tensors.items()})

    class Broken(TwoScaleCaptioner):
        def image_transform(self) -> TwoScales:
            return Halved(self.image_processor)

    use(monkeypatch, Broken)
    with pytest.raises(ModelError, match=r"detail \(3, 32, 32\), overview \(3, 8, 8\)"):
        load_captioner(saved)


def test_an_input_whose_size_varies_with_the_image_is_named(saved, monkeypatch):
    class Varying(TwoScales):
        def __call__(self, image: Image.Image) -> VisionInputs:
            tensors = dict(super().__call__(image).tensors)
            return VisionInputs({**tensors, "tiles": torch.zeros(1, image.width // 10, 3)})

    class Broken(TwoScaleCaptioner):
        def image_transform(self) -> TwoScales:
            return Varying(self.image_processor)

    use(monkeypatch, Broken)
    with pytest.raises(ModelError, match=r"returns 'tiles' of different sizes: \(4, 3\) and \(9"):
        load_captioner(saved)
