"""The fast image transform gives the image processor's own pixels, bit for bit."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from captune.models.vision.image_transform import ImageTransform
from support.models.tiny_models import build, images

SQUARE = {"height": 64, "width": 64}
PROCESSORS: dict[str, Any] = {
    "vit": lambda: transformers.ViTImageProcessorPil(size=SQUARE),
    "blip": lambda: transformers.BlipImageProcessorPil(size=SQUARE),
    "clip": lambda: transformers.CLIPImageProcessorPil(
        size={"shortest_edge": 64}, crop_size=SQUARE
    ),
    "deit": lambda: transformers.DeiTImageProcessorPil(
        size={"height": 73, "width": 73}, crop_size=SQUARE
    ),
    "beit": lambda: transformers.BeitImageProcessorPil(size=SQUARE),
    "mobilenet": lambda: transformers.MobileNetV2ImageProcessorPil(
        size={"shortest_edge": 73}, crop_size=SQUARE
    ),
    "convnext": lambda: transformers.ConvNextImageProcessorPil(size={"shortest_edge": 64}),
    "no normalisation": lambda: transformers.ViTImageProcessorPil(size=SQUARE, do_normalize=False),
    "no resizing": lambda: transformers.ViTImageProcessorPil(do_resize=False),
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_pixels_equal_those_of_the_image_processor(name: str) -> None:
    processor = PROCESSORS[name]()
    transform = ImageTransform(processor)
    shapes = [(64, 64), (200, 90), (90, 333), (40, 40), (65, 64)]
    for seed, shape in enumerate(shapes):
        rng = np.random.default_rng(seed)
        image = Image.fromarray(rng.integers(0, 256, (*shape, 3), dtype=np.uint8))
        expected = processor([image], return_tensors="pt").pixel_values[0]
        found = transform(image).pixel_values[0]
        assert found.dtype == expected.dtype == torch.float32
        assert torch.equal(found, expected)


@pytest.mark.parametrize("name", PROCESSORS)
def test_the_table_is_used_for_every_known_processor(name: str) -> None:
    assert ImageTransform(PROCESSORS[name]())._table is not None


class HalfBlind(transformers.ViTImageProcessorPil):
    """A processor that normalises by position, which no table of levels can represent."""

    def normalize(self, image: Any, mean: Any, std: Any, **settings: Any) -> Any:
        dark = super().normalize(image, mean, std, **settings)
        dark[:, : dark.shape[1] // 2] = 0
        return dark


def test_a_processor_that_no_table_can_represent_is_called_directly() -> None:
    processor = HalfBlind(size=SQUARE)
    transform = ImageTransform(processor)
    image = images(1)[0]
    expected = processor([image], return_tensors="pt").pixel_values
    assert torch.equal(transform(image).pixel_values, expected)
    assert transform._table is None


def test_a_processor_without_rescaling_keeps_raw_levels() -> None:
    processor = transformers.ViTImageProcessorPil(size=SQUARE, do_rescale=False, do_normalize=False)
    image = images(1)[0]
    found = ImageTransform(processor)(image).pixel_values
    assert torch.equal(found, processor([image], return_tensors="pt").pixel_values)


def test_a_batch_joins_its_images() -> None:
    captioner = build("vit-gpt2-tiny")
    transform = captioner.image_transform()
    batch = captioner.vision_inputs(images(3)).pixel_values
    assert batch.shape == (3, 3, 64, 64)
    for row, image in zip(batch, images(3), strict=True):
        assert torch.equal(row, transform(image).pixel_values[0])


def test_the_pixels_of_a_captioner_equal_those_of_its_image_processor() -> None:
    for name in ("blip-tiny", "git-tiny", "mobilenet-gpt2-tiny"):
        captioner = build(name)
        expected = captioner.image_processor(images(3), return_tensors="pt").pixel_values
        assert torch.equal(captioner.pixel_values(images(3)), expected)


class Pixels(Dataset[torch.Tensor]):
    """The contents of a worker process: the transform and no model."""

    def __init__(self, transform: ImageTransform) -> None:
        self.transform = transform

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.transform(images(3)[index]).pixel_values[0]


def test_the_transform_can_be_sent_to_worker_processes() -> None:
    captioner = build("blip-tiny")
    transform = captioner.image_transform()
    assert len(pickle.dumps(transform)) < 20_000
    loader = DataLoader(
        Pixels(transform), batch_size=3, num_workers=1, multiprocessing_context="fork"
    )
    (batch,) = list(loader)
    assert torch.equal(batch, captioner.pixel_values(images(3)))
    again = pickle.loads(pickle.dumps(transform))
    assert all(
        torch.equal(again(image).pixel_values[0], row)
        for image, row in zip(images(3), batch, strict=True)
    )


@pytest.mark.real_data
def test_real_photographs_give_the_same_pixels(real_data: Path) -> None:
    photos = sorted((real_data / "coco_mini/train2017").glob("*.jpg"))[:3]
    assert len(photos) == 3
    folder = real_data / "weights/mobilenet_v2_1.0_224-hf"
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    transform = ImageTransform(processor)
    for photo in photos:
        image = Image.open(photo).convert("RGB")
        expected = processor([image], return_tensors="pt").pixel_values[0]
        assert torch.equal(transform(image).pixel_values[0], expected)
