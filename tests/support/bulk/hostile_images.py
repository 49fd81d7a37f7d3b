"""Broken and hostile image files, each with the reason that captioning it must give.

The numbers are those of the table of failure cases in docs/loss.md.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from support import bombs

CAPTIONED = ""
"""The reason of an image that gets a caption."""


@dataclass(frozen=True, slots=True)
class HostileImage:
    """One file.

    Attributes:
        case: Number of its case.
        name: Its name.
        write: Makes it at a path.
        reasons: Reasons that a failure may give; one that is `CAPTIONED`: it may get a caption.
        is_large: Whether it takes a second or more, or much memory.
    """

    case: int
    name: str
    write: Callable[[Path], object]
    reasons: tuple[str, ...]
    is_large: bool = False


def photo(number: int, *, width: int = 12, height: int = 8) -> Image.Image:
    """Return a small RGB image; another number gives other pixels."""
    pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def write_photos(folder: Path, number: int, *, first: int = 0) -> list[Path]:
    """Write good PNG files with different pixels, and return their paths in order of names."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"photo{n:06}.png" for n in range(first, first + number)]
    for n, path in enumerate(paths, first):
        photo(n).save(path)
    return paths


def write_hostile(folder: Path, *, with_large: bool = False) -> list[HostileImage]:
    """Write every hostile file into a folder, and return them."""
    folder.mkdir(parents=True, exist_ok=True)
    images = [image for image in hostile_images() if with_large or not image.is_large]
    for image in images:
        image.write(folder / image.name)
    return images


def hostile_images() -> Iterator[HostileImage]:
    """Yield the files of cases 1 to 14 and 59."""
    yield from _not_images()
    yield from _bombs()
    yield from _unusual()
    yield from _no_files()


def _not_images() -> Iterator[HostileImage]:
    page = b"<!DOCTYPE html><html><body>404 not found</body></html>"
    drawing = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    yield HostileImage(1, "empty.jpg", _bytes(b""), ("empty",))
    yield HostileImage(2, "page.jpg", _bytes(page), ("not_an_image",))
    yield HostileImage(3, "cut.jpg", _bytes(_half(_jpeg())), ("truncated",))
    yield HostileImage(3, "cut.png", _bytes(_half(_png())), ("truncated",))
    yield HostileImage(11, "photo.heic", _bytes(_heic()), ("needs_plugin",))
    yield HostileImage(12, "drawing.png", _bytes(drawing), ("not_an_image",))


def _bombs() -> Iterator[HostileImage]:
    large = ("memory", "too_slow", "too_many_pixels", CAPTIONED)
    yield HostileImage(4, "large.png", _large_png, large, is_large=True)
    yield HostileImage(5, "huge.png", _bytes(_png_header(14_000, 14_000)), ("too_many_pixels",))
    yield HostileImage(6, "text.png", _made(bombs.png_of_texts), ("text_bomb", "memory", CAPTIONED))
    slow = ("too_slow", "memory", "corrupt")
    yield HostileImage(59, "tags.tif", _made(bombs.tiff_of_shared_tags), slow, is_large=True)
    comments = (*slow, CAPTIONED)
    yield HostileImage(59, "comments.gif", _made(bombs.gif_of_comments), comments, is_large=True)
    yield HostileImage(59, "comments.ppm", _made(bombs.ppm_of_comments), comments, is_large=True)
    # An idle core decodes its scans within the limit of time.
    scans = (*slow, CAPTIONED)
    yield HostileImage(59, "scans.jpg", _made(bombs.jpeg_of_scans), scans, is_large=True)


def _unusual() -> Iterator[HostileImage]:
    base = photo(7)
    for mode in ("L", "LA", "P", "CMYK", "1", "I;16", "F"):
        ending = "tif" if mode in ("CMYK", "F") else "png"
        image = base.convert("I") if mode == "I;16" else base.convert(mode)
        if mode == "I;16":
            image = Image.fromarray(np.asarray(base.convert("L")).astype(np.uint16) * 257)
        name = f"mode_{mode.replace(';', '')}.{ending}"
        yield HostileImage(8, name, image.save, (CAPTIONED,))
    for turn in range(2, 9):
        yield HostileImage(9, f"turned{turn}.jpg", _turned(turn), (CAPTIONED,))
    yield HostileImage(7, "moving.gif", _moving, (CAPTIONED,))
    yield HostileImage(10, "exif.jpg", _bad_exif, (CAPTIONED,))
    yield HostileImage(13, "pixel.png", Image.new("RGB", (1, 1)).save, (CAPTIONED,))
    yield HostileImage(13, "strip.png", Image.new("RGB", (20_000, 10)).save, ("aspect",))


def _no_files() -> Iterator[HostileImage]:
    yield HostileImage(
        14, "gone.jpg", lambda path: path.symlink_to("nowhere.jpg"), ("missing", "io")
    )
    if hasattr(os, "mkfifo"):
        yield HostileImage(14, "pipe.jpg", os.mkfifo, ("io",))
    if hasattr(os, "geteuid") and os.geteuid() != 0:
        yield HostileImage(14, "locked.jpg", _locked, ("io",))


def odd_names() -> list[bytes]:
    """Return file names of case 16, as bytes of the file system."""
    return [
        b"line\nbreak.png",
        "fox \U0001f98a.png".encode(),
        "\u202egnp.png".encode(),
        b"not\xff\xfeutf8.png",
        b"x" * 251 + b".png",
        b"-rf.png",
        b"CON.png",
        b'quote"comma,.png',
        b" blank .png",
    ]


def _bytes(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def _made(make: Callable[[], bytes]) -> Callable[[Path], object]:
    # Bombs take seconds to make, also for tests that leave the large ones out.
    return lambda path: path.write_bytes(make())


def _jpeg() -> bytes:
    return bombs.encode(photo(3, width=80, height=60), "JPEG")


def _png() -> bytes:
    return bombs.encode(photo(4, width=80, height=60), "PNG")


def _half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _heic() -> bytes:
    return struct.pack(">I", 24) + b"ftypheic" + bytes(4) + b"mif1heic" + bytes(100)


def _png_header(width: int, height: int) -> bytes:
    """Return a PNG that claims a size, and has one row's worth of pixels."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    pieces = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(pieces)


def _large_png(path: Path) -> None:
    Image.new("RGB", (9_000, 9_000)).save(path, compress_level=1)


def _turned(turn: int) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = turn
        photo(9, width=16, height=8).save(path, exif=exif)

    return write


def _moving(path: Path) -> None:
    frames = [photo(number) for number in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def _bad_exif(path: Path) -> None:
    buffer = io.BytesIO()
    photo(10).save(buffer, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff", icc_profile=b"\xff" * 50)
    path.write_bytes(buffer.getvalue())


def _locked(path: Path) -> None:
    photo(14).save(path)
    path.chmod(0)
