"""Large JPEGs are decoded at a fraction of their size, never below the required size."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import ExifTags, Image

from captune.data import open_decoder
from captune.errors import ImageError
from captune.recipe import View
from captune.training.batches.planning import apply_view, before_views

BOTH = pytest.mark.parametrize("mode", ["inline", "isolated"])


def jpeg(width: int, height: int, *, orientation: int = 1, **options: object) -> bytes:
    """Return a smooth picture without symmetry, darker to the left and redder to the bottom."""
    columns, rows = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    pixels = np.stack([rows, columns, (rows + columns) / 2], axis=-1).astype(np.uint8)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95, exif=exif, **options)
    return file.getvalue()


def decode(content: bytes, mode: str, smallest: tuple[int, int] | None) -> Image.Image:
    with open_decoder(mode, smallest=smallest) as decoder:  # type: ignore[arg-type]
        return decoder.decode(content, lambda image: image.copy())


@BOTH
@pytest.mark.parametrize(
    ("smallest", "size"),
    [
        (None, (640, 480)),
        ((640, 480), (640, 480)),
        ((321, 10), (640, 480)),
        ((320, 240), (320, 240)),
        ((320, 241), (640, 480)),
        ((161, 100), (320, 240)),
        ((160, 120), (160, 120)),
        ((80, 60), (80, 60)),
        ((1, 1), (80, 60)),
    ],
)
def test_a_jpeg_is_decoded_at_the_smallest_fraction_that_covers_both_sides(
    mode, smallest, size
) -> None:
    assert decode(jpeg(640, 480), mode, smallest).size == size


@BOTH
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_is_that_after_exif_rotation(mode, orientation) -> None:
    content = jpeg(640, 240, orientation=orientation)
    full, small = decode(content, mode, None), decode(content, mode, (120, 60))
    is_sideways = orientation >= 5
    assert full.size == ((240, 640) if is_sideways else (640, 240))
    # Sideways, 240 columns become 120; upright, 240 rows become 60.
    assert small.size == ((120, 320) if is_sideways else (160, 60))
    again = np.asarray(full.resize(small.size, Image.Resampling.BOX)).astype(int)
    assert np.abs(np.asarray(small).astype(int) - again).max() <= 6


@BOTH
@pytest.mark.parametrize("format", ["PNG", "WEBP", "BMP"])
def test_other_formats_are_decoded_in_full(mode, format) -> None:
    file = io.BytesIO()
    Image.new("RGB", (640, 480)).save(file, format)
    assert decode(file.getvalue(), mode, (64, 64)).size == (640, 480)


@pytest.mark.parametrize("kind", ["L", "CMYK"])
def test_grey_and_cmyk_jpegs_become_smaller_too(kind) -> None:
    file = io.BytesIO()
    Image.new(kind, (640, 480)).save(file, "JPEG")
    small = decode(file.getvalue(), "inline", (60, 60))
    assert (small.mode, small.size) == ("RGB", (80, 60))


@BOTH
def test_progressive_jpegs_become_smaller_too(mode) -> None:
    assert decode(jpeg(640, 480, progressive=True), mode, (60, 60)).size == (80, 60)


@BOTH
def test_a_truncated_jpeg_is_reported_at_every_size(mode) -> None:
    content = jpeg(640, 480)
    for smallest in (None, (300, 200), (64, 64)):
        with pytest.raises(ImageError) as caught:
            decode(content[: len(content) // 2], mode, smallest)
        assert caught.value.what == "truncated"


def test_the_pixel_limit_applies_to_the_size_in_the_file() -> None:
    with (
        open_decoder("inline", max_pixels=100_000, smallest=(64, 64)) as decoder,
        pytest.raises(ImageError) as caught,
    ):
        decoder.decode(jpeg(640, 480), lambda image: image.copy())
    assert caught.value.what == "too_many_pixels"


@pytest.mark.parametrize("views", [("original",), ("original", "flip"), ("crop", "flip_crop")])
def test_each_view_of_a_smaller_image_has_the_size_that_is_needed(views: tuple[View, ...]) -> None:
    for side in range(40, 80):
        width, height = before_views((side, side), views)
        for more in range(3):
            image = Image.new("RGB", (width + more, height + more))
            for view in views:
                shown = apply_view(image, view, key="a")
                assert min(shown.size) >= side
