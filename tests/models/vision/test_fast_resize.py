"""The fast resize gives the image processor's pixels up to rounding, or is not used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from captune.data import InlineDecoder
from captune.models.vision.fast_resize import find_fast_resize, raw_levels
from support.models.processors import PROCESSORS, SQUARE, HalfBlind

KNOWN: dict[str, Any] = {
    **{name: make for name, make in PROCESSORS.items() if name != "no resizing"},
    "lanczos": lambda: transformers.ViTImageProcessorPil(size=SQUARE, resample=1),
    "warping convnext": lambda: transformers.ConvNextImageProcessorPil(size={"shortest_edge": 384}),
    "odd sides": lambda: transformers.ViTImageProcessorPil(size={"height": 33, "width": 71}),
}
OTHERS: dict[str, Any] = {
    "no resizing": PROCESSORS["no resizing"],
    "box": lambda: transformers.ViTImageProcessorPil(size=SQUARE, resample=4),
    "nearest": lambda: transformers.ViTImageProcessorPil(size=SQUARE, resample=0),
    "longest edge": lambda: transformers.ViTImageProcessorPil(
        size={"shortest_edge": 64, "longest_edge": 80}
    ),
    "padded crop": lambda: transformers.CLIPImageProcessorPil(
        size={"shortest_edge": 40}, crop_size=SQUARE
    ),
    "donut": lambda: transformers.DonutImageProcessorPil(size=SQUARE),
    "own resize": lambda: Mirroring(size=SQUARE),
}
SHAPES = ((64, 64), (200, 90), (90, 333), (40, 40), (65, 64), (1, 7), (480, 640), (33, 1000))


class Mirroring(transformers.ViTImageProcessorPil):
    """A processor that does something no other does while it resizes."""

    def resize(self, image: Any, **settings: Any) -> Any:
        return super().resize(image, **settings)[:, :, ::-1].copy()


def noise(shape: tuple[int, int], seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (*shape, 3), dtype=np.uint8))


def smooth(shape: tuple[int, int]) -> Image.Image:
    """Return a slope from one corner to the other, different per channel."""
    rows, columns = np.linspace(0, 1, shape[0]), np.linspace(0, 1, shape[1])
    grey = (rows[:, None] + columns[None, :]) * 127
    return Image.fromarray(np.stack([grey, 255 - grey, grey / 2], axis=-1).astype(np.uint8))


def difference(processor: Any, image: Image.Image) -> np.ndarray:
    resize = find_fast_resize(processor)
    assert resize is not None
    ours = resize(image).numpy()
    theirs = raw_levels(processor, image)
    assert ours.dtype == theirs.dtype == np.uint8
    assert ours.shape == theirs.shape
    return np.abs(ours.astype(int) - theirs.astype(int))


@pytest.mark.parametrize("name", KNOWN)
def test_noise_differs_by_two_levels_at_most(name: str) -> None:
    processor = KNOWN[name]()
    for seed, shape in enumerate(SHAPES):
        found = difference(processor, noise(shape, seed))
        assert found.max() <= 2
        assert found.mean() <= 0.1


@pytest.mark.parametrize("name", KNOWN)
def test_a_smooth_image_is_neither_shifted_nor_mirrored(name: str) -> None:
    processor = KNOWN[name]()
    for shape in SHAPES:
        assert difference(processor, smooth(shape)).max() <= 2


@pytest.mark.parametrize("name", OTHERS)
def test_a_processor_with_any_other_step_has_no_fast_resize(name: str) -> None:
    assert find_fast_resize(OTHERS[name]()) is None


def test_a_processor_with_any_normalisation_has_a_fast_resize() -> None:
    assert find_fast_resize(HalfBlind(size=SQUARE)) is not None


@pytest.mark.parametrize(
    ("name", "smallest"),
    [("vit", (64, 64)), ("deit", (73, 73)), ("clip", (64, 64)), ("odd sides", (71, 33))],
)
def test_the_smallest_input_is_the_size_before_the_crop(
    name: str, smallest: tuple[int, int]
) -> None:
    resize = find_fast_resize(KNOWN[name]())
    assert resize is not None
    assert resize.smallest_input == smallest


@pytest.mark.real_data
@pytest.mark.parametrize("side", [224, 384])
def test_real_photographs_differ_by_two_levels_in_a_few_places(real_data: Path, side: int) -> None:
    photos = sorted((real_data / "coco_mini/train2017").glob("*.jpg"))[:8]
    assert len(photos) == 8
    processor = transformers.BlipImageProcessorPil(size={"height": side, "width": side})
    for photo in photos:
        found = difference(processor, Image.open(photo).convert("RGB"))
        assert found.max() <= 2
        assert found.mean() <= 0.01


def test_threads_do_not_change_the_pixels() -> None:
    resize = find_fast_resize(KNOWN["blip"]())
    assert resize is not None
    image, before = noise((300, 200), 0), torch.get_num_threads()
    expected = resize(image)
    try:
        torch.set_num_threads(3)
        assert torch.equal(resize(image), expected)
    finally:
        torch.set_num_threads(before)


@pytest.mark.real_data
@pytest.mark.parametrize("side", [64, 96, 128])
def test_jpegs_decoded_smaller_differ_less_than_by_another_filter(
    real_data: Path, side: int
) -> None:
    """About 2 of 255 grey levels, as bilinear in place of bicubic resizing would."""
    photos = sorted((real_data / "coco_mini/train2017").glob("*.jpg"))[:12]
    resize = find_fast_resize(
        transformers.BlipImageProcessorPil(size={"height": side, "width": side})
    )
    assert resize is not None
    differences = []
    for photo in photos:
        with InlineDecoder(smallest=resize.smallest_input) as small, InlineDecoder() as full:
            ours, theirs = small.decode(photo, resize), full.decode(photo, resize)
        differences.append((ours.int() - theirs.int()).abs().float())
    found = torch.stack(differences)
    assert 0.1 < float(found.mean()) < 2.5
    assert float((found > 16).float().mean()) < 0.02
