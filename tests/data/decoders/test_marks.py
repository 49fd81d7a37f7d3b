"""Marks of decoded images: animated, where one frame is decoded, and truncated."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image, features

from captune.data import ImageMark, open_decoder
from captune.errors import ImageError
from support.bulk.hostile_images import photo

FORMATS = [
    "GIF",
    "PNG",
    "WEBP",
    pytest.param("AVIF", marks=pytest.mark.skipif(not features.check("avif"), reason="no AVIF")),
]


def encode(form: str, *frames: Image.Image) -> bytes:
    file = io.BytesIO()
    more = {"save_all": True, "append_images": frames[1:]} if len(frames) > 1 else {}
    frames[0].save(file, form, **more)
    return file.getvalue()


def decode(mode: str, content: bytes | Path) -> tuple[Image.Image, list[ImageMark]]:
    marks: list[ImageMark] = []
    with open_decoder(mode) as decoder:  # type: ignore[arg-type]
        image = decoder.decode(content, lambda image: image.copy(), mark=marks.append)
    return image, marks


def many_frames(first: Image.Image, count: int) -> bytes:
    """A GIF whose frames are all the same one of two by two pixels, behind the first."""
    content, small = encode("GIF", first), encode("GIF", Image.new("P", (2, 2)))
    # A frame begins with a comma: behind the header and the palette of the small file.
    start = 13 + 3 * 2 ** ((small[10] & 7) + 1) if small[10] & 128 else 13
    frame = small[small.index(b",", start) : -1]
    return content[:-1] + (count - 1) * frame + b";"


@pytest.mark.parametrize("mode", ["inline", "isolated"])
@pytest.mark.parametrize("form", FORMATS)
def test_the_first_frame_of_an_animation_is_decoded_and_marked(form, mode):
    first, second = photo(1), photo(2)
    still, marks = decode(mode, encode(form, first))
    assert marks == []
    animated, marks = decode(mode, encode(form, first, second))
    assert marks == ["animated"]
    assert animated.size == still.size
    if form in ("GIF", "PNG"):
        # The others are compressed together with the second frame.
        assert animated.tobytes() == still.tobytes()


def test_ten_thousand_frames_cost_no_more_than_one():
    content = many_frames(photo(1), 10_000)
    image, marks = decode("isolated", content)
    assert (image.size, marks) == (photo(1).size, ["animated"])
    assert image.tobytes() == decode("isolated", encode("GIF", photo(1)))[0].tobytes()


def test_pages_and_previews_are_not_animations():
    for form in ("TIFF", "MPO"):
        _, marks = decode("inline", encode(form, photo(1), photo(2)))
        assert marks == []


def test_data_after_the_first_frame_of_a_gif_may_be_broken():
    content = encode("GIF", photo(1))
    image, marks = decode("inline", content[:-1] + b",\x01\x02")
    assert (image.tobytes(), marks) == (decode("inline", content)[0].tobytes(), [])


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_the_lenient_decoder_shows_the_readable_part_of_a_truncated_image(form, tmp_path):
    content = encode(form, photo(1).resize((200, 400)))
    whole, _ = decode("lenient", content)
    path = tmp_path / "cut"
    path.write_bytes(content[: len(content) // 2])
    cut, marks = decode("lenient", path)
    assert (cut.size, marks) == (whole.size, ["truncated"])
    top = (0, 0, 200, 80)
    assert cut.crop(top).tobytes() == whole.crop(top).tobytes()
    for mode in ("isolated", "inline"):
        with pytest.raises(ImageError, match="truncated"):
            decode(mode, path)


def test_the_lenient_decoder_refuses_images_that_are_broken_in_other_ways(tmp_path):
    for content, what in ((b"", "empty"), (b"<html>", "not_an_image"), (b"\x89PNG\r\n", "")):
        with pytest.raises(ImageError) as caught:
            decode("lenient", content)
        assert caught.value.what == what or not what
