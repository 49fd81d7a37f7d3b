"""Decoding: upright RGB from any bytes, or a one-word reason."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from captune.data import decode_image, image_hash, read_source
from captune.errors import DataError, ImageError
from captune.records import ZipMember

WHITE = (255, 255, 255)


def encode(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=format, **options)
    return buffer.getvalue()


def gradient(width: int = 40, height: int = 24) -> Image.Image:
    """Return an image whose turns and mirror images all differ."""
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack([columns * 6, rows * 10, (rows + columns) * 3], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))


def png_header(width: int, height: int) -> bytes:
    """Return a PNG that ends before its pixels."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\x10\0IDAT"


def reason(source: Path | bytes | ZipMember, **options: int) -> str:
    with pytest.raises(ImageError) as caught:
        decode_image(source, **options)
    return caught.value.what


# --- decoded images ----------------------------------------------------------------------------


def test_an_rgb_image_is_returned_unchanged_and_without_metadata():
    image = decode_image(encode(gradient(), dpi=(300, 300)))
    assert image.mode == "RGB"
    assert image.info == {}
    assert np.array_equal(np.asarray(image), np.asarray(gradient()))


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_gives_the_upright_image(orientation, format):
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = gradient() if undo is None else gradient().transpose(undo)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if format == "WEBP" else {}
    decoded = decode_image(encode(stored, format, exif=exif, **options))
    assert np.array_equal(np.asarray(decoded), np.asarray(gradient()))


def test_alpha_is_shown_on_white():
    # Half transparent black on white: 255 - 128 = 127.
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    assert decode_image(encode(half)).getpixel((0, 0)) == (127, 127, 127)
    clear = Image.new("RGBA", (4, 4), (9, 9, 9, 0))
    assert decode_image(encode(clear)).getpixel((0, 0)) == WHITE


def test_grey_with_alpha_is_shown_on_white():
    assert decode_image(encode(Image.new("LA", (4, 4), (0, 0)))).getpixel((0, 0)) == WHITE


def test_a_palette_with_a_transparent_colour_is_shown_on_white():
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    decoded = decode_image(encode(image, transparency=0))
    assert [decoded.getpixel((x, 0)) for x in (0, 1)] == [WHITE, (0, 0, 255)]


def test_a_palette_with_alpha_for_each_colour_is_shown_on_white():
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    decoded = decode_image(encode(image, transparency=bytes([0, 255])))
    assert [decoded.getpixel((x, 0)) for x in (0, 1)] == [WHITE, (0, 0, 255)]


def test_a_transparent_colour_of_an_rgb_png_is_shown_on_white():
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    image.putpixel((1, 0), (200, 0, 0))
    decoded = decode_image(encode(image, transparency=(1, 2, 3)))
    assert [decoded.getpixel((x, 0)) for x in (0, 1)] == [WHITE, (200, 0, 0)]


def test_grey_and_one_bit_images_become_rgb():
    assert decode_image(encode(Image.new("L", (4, 4), 77))).getpixel((0, 0)) == (77, 77, 77)
    assert decode_image(encode(Image.new("1", (4, 4), 1))).getpixel((0, 0)) == WHITE


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(format):
    values = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    decoded = np.asarray(decode_image(encode(Image.fromarray(values), format)))
    assert np.array_equal(decoded[..., 0].reshape(-1), np.arange(256))


def test_a_dark_sixteen_bit_png_stays_dark():
    # All values are below 256: scaled by its own range it would look like an 8-bit image.
    values = np.full((8, 8), 200, dtype=np.uint16)
    assert decode_image(encode(Image.fromarray(values))).getpixel((0, 0)) == (1, 1, 1)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.0, 255.0), (0.0, 65535.0), (-3.0, 5.0)])
def test_float_tiffs_use_the_range_that_holds_them(low, high):
    values = np.linspace(low, high, 64, dtype=np.float32).reshape(8, 8)
    decoded = np.asarray(decode_image(encode(Image.fromarray(values), "TIFF")))
    assert decoded[0, 0, 0] == 0
    assert decoded[-1, -1, 0] == 255
    assert (np.diff(decoded[..., 0].reshape(-1).astype(int)) >= 0).all()


def test_a_float_tiff_of_nan_and_infinity_is_still_an_image():
    values = np.full((8, 8), np.nan, dtype=np.float32)
    values[0, 0] = np.inf
    assert decode_image(encode(Image.fromarray(values), "TIFF")).size == (8, 8)


def test_a_constant_image_outside_every_range_does_not_divide_by_zero():
    values = np.full((8, 8), -7.0, dtype=np.float32)
    assert decode_image(encode(Image.fromarray(values), "TIFF")).size == (8, 8)


@pytest.mark.parametrize(("format", "tolerance"), [("JPEG", 4), ("TIFF", 1)])
def test_cmyk_looks_like_its_rgb_twin(format, tolerance):
    # Pillow writes CMYK JPEGs as Adobe does, inverted.
    cmyk = Image.new("RGB", (16, 16), (200, 100, 50)).convert("CMYK")
    options = {"quality": 100} if format == "JPEG" else {}
    pixel = decode_image(encode(cmyk, format, **options)).getpixel((8, 8))
    assert np.abs(np.subtract(pixel, (200, 100, 50))).max() <= tolerance


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP"])
def test_an_animation_gives_its_first_frame(format):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if format == "WEBP" else {}
    content = encode(frames[0], format, save_all=True, append_images=frames[1:], **options)
    assert decode_image(content).getpixel((0, 0)) == (255, 0, 0)


def test_an_image_with_malformed_exif_is_decoded():
    jpeg = encode(gradient(), "JPEG")
    garbage = b"Exif\0\0" + b"II*\0\xff\xff\xff\xff" + b"\x99" * 30
    broken = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(garbage) + 2) + garbage + jpeg[2:]
    assert decode_image(broken).size == gradient().size


@pytest.mark.parametrize(
    "metadata",
    [
        (b"\xe2", b"ICC_PROFILE\0\x01\x01" + b"\x99" * 200),
        (b"\xe2", b"ICC_PROFILE\0\x02\x01" + b"\x99" * 200),
        (b"\xe1", b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta <not xml \xff\xfe"),
        (b"\xed", b"Photoshop 3.0\x008BIM\x04\x04\xff\xff\xff\xff\xff"),
    ],
    ids=["icc", "icc in parts", "xmp", "iptc"],
)
def test_an_image_with_malformed_profiles_and_notes_is_decoded(metadata):
    marker, garbage = metadata
    jpeg = encode(gradient(), "JPEG")
    head = b"\xff" + marker + struct.pack(">H", len(garbage) + 2)
    broken = decode_image(jpeg[:2] + head + garbage + jpeg[2:])
    assert broken.tobytes() == decode_image(jpeg).tobytes()


def test_a_one_pixel_image_is_an_image():
    assert decode_image(encode(Image.new("RGB", (1, 1)))).size == (1, 1)


# --- refused images ---------------------------------------------------------------------------


def test_an_empty_file_is_empty(tmp_path):
    path = tmp_path / "a.jpg"
    path.touch()
    with pytest.raises(ImageError) as caught:
        decode_image(path)
    assert caught.value.what == "empty"
    assert str(path) in caught.value.where


@pytest.mark.parametrize(
    "content",
    [
        b"<!doctype html><title>404</title>",
        b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"just text",
    ],
)
def test_pages_drawings_and_programs_are_not_images(content):
    assert reason(content) == "not_an_image"


def test_a_git_lfs_pointer_is_reported():
    assert reason(b"version https://git-lfs.github.com/spec/v1\noid 1") == "git_lfs_pointer"


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
def test_an_image_cut_in_half_is_truncated(format):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    content = encode(Image.fromarray(noise), format)
    assert reason(content[: len(content) // 2]) == "truncated"


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF"])
def test_an_image_cut_in_its_header_is_truncated(format):
    assert reason(encode(gradient(), format)[:14]) == "truncated"


def test_a_jpeg_with_broken_tables_is_corrupt():
    content = bytearray(encode(gradient(), "JPEG"))
    start = content.index(b"\xff\xc4")
    content[start + 4 : start + 24] = b"\xff" * 20
    assert reason(bytes(content)) == "corrupt"


def test_the_pixel_limit_is_checked_on_the_header_before_decoding():
    # Nothing follows the header: decoding it would raise `truncated`.
    assert reason(png_header(14_000, 14_000)) == "too_many_pixels"
    assert reason(png_header(101, 100), max_pixels=10_000) == "too_many_pixels"
    assert reason(png_header(100, 100), max_pixels=10_000) == "truncated"


def test_a_strip_is_refused_by_its_aspect():
    assert reason(encode(Image.new("L", (4000, 10)))) == "aspect"
    assert decode_image(encode(Image.new("L", (2000, 10)))).size == (2000, 10)


def test_a_text_bomb_in_a_png_is_reported():
    info = PngImagePlugin.PngInfo()
    info.add_text("bomb", "A" * 70_000_000, zip=True)
    assert reason(encode(gradient(), pnginfo=info)) == "text_bomb"


@pytest.mark.parametrize(
    ("content", "pip_line"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "pip install pillow-heif"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "pip install pillow-jxl-plugin"),
    ],
)
def test_formats_that_need_a_plugin_name_its_pip_command(content, pip_line):
    with pytest.raises(ImageError) as caught:
        decode_image(content)
    assert (caught.value.what, caught.value.fix) == ("needs_plugin", pip_line)


@pytest.mark.timeout(20)
def test_pipes_devices_and_folders_are_never_opened(tmp_path):
    fifo = tmp_path / "a.jpg"
    os.mkfifo(fifo)
    assert reason(fifo) == "io"
    assert reason(tmp_path) == "io"
    assert reason(Path("/dev/zero")) == "io"


def test_a_deleted_file_is_missing(tmp_path):
    assert reason(tmp_path / "gone.jpg") == "missing"
    assert reason(Path("a\0b.jpg")) == "io"


# --- zips and hashes --------------------------------------------------------------------------


def test_a_member_of_a_zip_is_read_in_place(tmp_path):
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("inner/a.png", encode(gradient()))
    member = ZipMember(path, "inner/a.png")
    assert decode_image(member).size == gradient().size
    assert read_source(member) == encode(gradient())
    assert reason(ZipMember(path, "inner/b.png")) == "missing"
    assert reason(ZipMember(tmp_path / "none.zip", "a.png")) == "io"


def test_a_git_lfs_pointer_in_place_of_a_zip_stops_the_run(tmp_path):
    path = tmp_path / "images.zip"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n")
    with pytest.raises(DataError, match="Git LFS pointer, not the archive") as caught:
        decode_image(ZipMember(path, "a.png"))
    assert "git lfs pull" in caught.value.fix


def test_the_image_hash_is_the_sha256_of_the_bytes(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert image_hash(path) == image_hash(b"abc") == known


# --- random damage ---------------------------------------------------------------------------

WHOLE = {
    format: encode(gradient(), format)
    for format in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "ICO", "TGA", "PPM", "JPEG2000")
}


@settings(max_examples=300, deadline=None)
@given(data=st.data(), format=st.sampled_from(sorted(WHOLE)))
def test_damaged_files_are_images_or_image_errors(data, format):
    content = bytearray(WHOLE[format])
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(1, len(content)))
    try:
        assert decode_image(bytes(content[:end]), max_pixels=1_000_000).mode == "RGB"
    except ImageError as error:
        known = {"not_an_image", "truncated", "corrupt", "too_many_pixels", "aspect"}
        # Two damaged bytes can make the start of a JPEG XL file.
        assert error.what in known | {"needs_plugin"}


@pytest.mark.real_data
def test_real_photographs_decode(real_data):
    sizes = {path.name: decode_image(path).size for path in (real_data / "photos").glob("*.*p*")}
    assert sizes["grace_hopper.bmp"] == (512, 600)
    assert len(sizes) == 10


def test_a_limit_above_pillows_own_is_followed(png_bytes, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    content = png_bytes(side=8)
    with pytest.raises(ImageError, match="too_many_pixels"):
        decode_image(content, max_pixels=20)
    assert decode_image(content, max_pixels=64).size == (8, 8)
