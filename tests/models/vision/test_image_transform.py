"""The fast image transform gives the image processor's own pixels, bit for bit."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from captune.models.vision.image_transform import ImageTransform, level_transform
from support.models.processors import PROCESSORS, SQUARE, HalfBlind
from support.models.tiny_models import build, images


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


@pytest.mark.parametrize("name", PROCESSORS)
def test_exact_levels_normalised_later_equal_the_processors_pixels(name: str) -> None:
    transform = ImageTransform(PROCESSORS[name]())
    levels = level_transform(transform, exact=True)
    # Normalised by arithmetic, not by the slower table.
    assert transform._arithmetic is not None
    for image in images(3):
        pixels = levels(image).pixel_values
        assert pixels.dtype == torch.uint8
        assert torch.equal(transform.normalise(pixels), transform(image).pixel_values)


def test_a_table_normalises_where_arithmetic_would_round_differently() -> None:
    processor = transformers.ViTImageProcessorPil(
        size=SQUARE, rescale_factor=0.0037, image_mean=0.3
    )
    transform = ImageTransform(processor)
    assert transform._arithmetic is None
    for image in images(3):
        pixels = level_transform(transform, exact=True)(image).pixel_values
        assert torch.equal(transform.normalise(pixels), transform(image).pixel_values)


def test_levels_of_a_processor_without_a_table_are_its_own_pixels() -> None:
    transform = ImageTransform(HalfBlind(size=SQUARE))
    for exact in (True, False):
        assert level_transform(transform, exact=exact) is transform
    pixels = transform(images(1)[0]).pixel_values
    assert torch.equal(transform.normalise(pixels), pixels)


def test_raw_levels_are_not_normalised() -> None:
    processor = transformers.ViTImageProcessorPil(size=SQUARE, do_rescale=False, do_normalize=False)
    transform = ImageTransform(processor)
    pixels = transform(images(1)[0]).pixel_values
    assert torch.equal(transform.normalise(pixels), pixels)


@torch.inference_mode()
def test_encoding_levels_equals_encoding_pixels() -> None:
    for name in ("blip-tiny", "git-tiny", "mobilenet-gpt2-tiny"):
        captioner = build(name)
        levels = level_transform(captioner.image_transform(), exact=True)
        for image in images(3):
            expected = captioner.encode(captioner.vision_inputs([image]))
            assert torch.equal(captioner.encode(levels(image)), expected)


def test_fast_levels_are_close_and_smaller_inputs_are_known() -> None:
    transform = ImageTransform(PROCESSORS["blip"]())
    fast, exact = (level_transform(transform, exact=exact) for exact in (False, True))
    assert (fast.smallest_input, exact.smallest_input) == ((64, 64), None)
    assert fast.describe() != exact.describe()
    for image in images(3):
        ours, theirs = fast(image).pixel_values, exact(image).pixel_values
        assert int((ours.int() - theirs.int()).abs().max()) <= 2
