"""One image from untrusted bytes to plain RGB, or a one-word reason why not.

Every photo set holds files that are empty, cut, web pages, bombs or pipes; a run must name them
and go on. Pillow decodes; what it leaves to the caller (EXIF turn, alpha, 16 bits, limits before
decoding) is done here, the same way for training, evaluation and captioning.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import os
import stat
import struct
import zlib
from pathlib import Path
from typing import IO

from PIL import ExifTags, Image, UnidentifiedImageError

from captune.data.archives.archive import read_member
from captune.data.pixels import to_rgb
from captune.errors import ImageError
from captune.records import ImageSource, TarMember, ZipMember

DEFAULT_MAX_PIXELS = 100_000_000
MAX_ASPECT = 200
"""Longer side over shorter side; beyond it, resizing leaves nothing of the shorter one."""

IMAGE_SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
        *(".avif", ".heic", ".heif", ".jxl", ".jp2", ".ppm", ".pgm", ".tga", ".ico"),
    )
)

# Only formats whose decoders run no other program: EPS would start Ghostscript.
_FORMATS = (
    *("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000", "PPM"),
    *("TGA", "ICO", "HEIF", "JXL"),
)

# Pillow's decoders let all of these escape on broken files.
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    LookupError,
    TypeError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    MemoryError,
)

# (start of the file, bytes that end a whole one; empty: no fixed end)
_MAGIC: tuple[tuple[bytes, bytes], ...] = (
    (b"\xff\xd8\xff", b"\xff\xd9"),
    (b"\x89PNG\r\n\x1a\n", b"IEND"),
    (b"GIF87a", b"\x3b"),
    (b"GIF89a", b"\x3b"),
    (b"RIFF", b""),
    (b"BM", b""),
    (b"II*\x00", b""),
    (b"MM\x00*", b""),
)

# (bytes 4..12 or the start, module, pip line)
_PLUGINS: tuple[tuple[tuple[bytes, ...], str, str], ...] = (
    (
        (b"ftypheic", b"ftypheix", b"ftypheim", b"ftyphevc", b"ftypmif1", b"ftypmsf1"),
        "pillow_heif",
        "pip install pillow-heif",
    ),
    (
        (b"\x00\x00\x00\x0cJXL ", b"\xff\x0a", b"JXL \x0d\x0a\x87\x0a"),
        "pillow_jxl",
        "pip install pillow-jxl-plugin",
    ),
)

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode_image(source: ImageSource, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Image.Image:
    """Decode an image to upright 8-bit RGB; alpha lies on white, animations give frame one.

    Args:
        source: A file, encoded bytes, or a member of a zip or a tar.
        max_pixels: Width times height allowed; checked on the header, before decoding.

    Returns:
        A new RGB image without metadata, not tied to the file.

    Raises:
        ImageError: `what` is one of `missing`, `io` (not a regular file, not readable), `empty`,
            `git_lfs_pointer`, `not_an_image`, `needs_plugin`, `truncated`, `corrupt`,
            `text_bomb`, `too_many_pixels`, `aspect`.
    """
    name = describe_source(source)
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > 2 * Image.MAX_IMAGE_PIXELS:
        # Pillow's own limit, of the whole process, comes before the one that was asked for.
        Image.MAX_IMAGE_PIXELS = max_pixels
    with _open_source(source) as file:
        head = file.read(512)
        _refuse_by_head(head, name=name)
        file.seek(0)
        try:
            with Image.open(file, formats=_known_formats()) as image:
                _check_size(image.size, max_pixels=max_pixels, name=name)
                image.load()
                upright = _turn_upright(image)
                return to_rgb(upright)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise ImageError("too_many_pixels", where=f"{name}: {error}") from error
        except _DECODER_ERRORS as error:
            raise _explain(error, head=head, file=file, name=name) from error


def image_hash(source: ImageSource) -> str:
    """SHA-256 of the encoded bytes, in hex: equal for byte-equal files.

    Raises:
        ImageError: The bytes cannot be read.
    """
    with _open_source(source) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def read_source(source: ImageSource) -> bytes:
    """The encoded bytes of an image.

    Raises:
        ImageError: The bytes cannot be read.
    """
    with _open_source(source) as file:
        return file.read()


def describe_source(source: ImageSource) -> str:
    """A name of the source for people."""
    if isinstance(source, Path):
        return str(source)
    if isinstance(source, ZipMember | TarMember):
        return f"{source.archive}:{source.member}"
    return f"{len(source)} bytes"


def _open_source(source: ImageSource) -> IO[bytes]:
    if isinstance(source, Path):
        return _open_file(source)
    if isinstance(source, ZipMember | TarMember):
        return io.BytesIO(read_member(source))
    return io.BytesIO(source)


def _open_file(path: Path) -> IO[bytes]:
    try:
        # Asked before opening: opening a FIFO waits for ever, a device may do anything.
        if not stat.S_ISREG(path.stat().st_mode):
            raise ImageError("io", where=f"{path}: not a regular file")
        return path.open("rb")
    except FileNotFoundError as error:
        raise ImageError("missing", where=f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        raise ImageError("io", where=f"{path}: {error}") from error


def _refuse_by_head(head: bytes, *, name: str) -> None:
    if not head:
        raise ImageError("empty", where=f"{name}: 0 bytes")
    if head.startswith(b"version https://git-lfs"):
        raise ImageError("git_lfs_pointer", where=name, fix="`git lfs pull`")
    if b"avif" in head[8:64]:
        # AVIF may call itself mif1 too, and Pillow reads it.
        return
    for marks, module, pip_line in _PLUGINS:
        if any(head.startswith(mark) or head[4:12] == mark for mark in marks):
            _load_plugin(module, pip_line=pip_line, name=name)


def _load_plugin(module: str, *, pip_line: str, name: str) -> None:
    try:
        plugin = importlib.import_module(module)
    except ImportError as error:
        raise ImageError("needs_plugin", where=name, fix=pip_line) from error
    register = getattr(plugin, "register_heif_opener", None)
    if register is not None:
        register()


def _known_formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _check_size(size: tuple[int, int], *, max_pixels: int, name: str) -> None:
    width, height = size
    if width * height > max_pixels:
        raise ImageError(
            "too_many_pixels", where=f"{name}: {width}x{height}, more than {max_pixels} pixels"
        )
    if max(size) > MAX_ASPECT * max(1, min(size)):
        raise ImageError("aspect", where=f"{name}: {width}x{height}")


def _turn_upright(image: Image.Image) -> Image.Image:
    # After load(): TIFF and AVIF turn themselves then and drop the tag.
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except _DECODER_ERRORS:
        # Malformed EXIF (datasets#6739) says nothing about the pixels.
        return image
    return image if turn is None else image.transpose(turn)


def _read_tail(file: IO[bytes]) -> tuple[bytes, int]:
    try:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 64))
        return file.read(), size
    except (OSError, ValueError):
        return b"", 0


def _is_cut(head: bytes, *, tail: bytes, size: int) -> bool:
    if head.startswith(b"RIFF"):
        # WebP says how long it is; what it says leaves out its own first 8 bytes.
        return int.from_bytes(head[4:8], "little") + 8 > size
    ends = next((end for start, end in _MAGIC if head.startswith(start)), b"")
    return bool(ends) and ends not in tail


def _explain(error: BaseException, *, head: bytes, file: IO[bytes], name: str) -> ImageError:
    where = f"{name}: {error or type(error).__name__}"
    if "Decompressed data too large" in str(error) or "MAX_TEXT" in str(error):
        return ImageError("text_bomb", where=where)
    is_image = any(head.startswith(start) for start, _ in _MAGIC)
    if isinstance(error, UnidentifiedImageError) and not is_image:
        return ImageError("not_an_image", where=f"{name}: starts with {head[:16]!r}")
    tail, size = _read_tail(file)
    cut = _is_cut(head, tail=tail, size=size) or isinstance(error, EOFError)
    if cut or "truncated" in str(error).lower():
        return ImageError("truncated", where=where)
    if isinstance(error, MemoryError):
        return ImageError("too_many_pixels", where=where)
    return ImageError("corrupt", where=where)
