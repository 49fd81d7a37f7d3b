"""Decode one untrusted image to plain RGB, or give a one-word reason why not.

Photo sets contain files that are empty, truncated, web pages, bombs or pipes; a run must report
them and continue. Pillow decodes; what it leaves to the caller (EXIF orientation, alpha, 16 bits,
limits before decoding) is done here, in the same way for training, evaluation and captioning.

This module is also imported by every process that decodes (`decoders/child.py`): keep it light.
"""

from __future__ import annotations

import errno
import hashlib
import importlib
import io
import os
import re
import stat
from collections.abc import Callable, Iterator
from typing import IO, Literal

from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from captune.data.archives.archive import read_member
from captune.data.pixels import (
    DECODER_ERRORS,
    Size,
    is_plain_rgb,
    shrink_jpeg,
    to_rgb,
    turn_upright,
)
from captune.errors import DataError, ImageError
from captune.records import EncodedImage, TarMember, ZipMember
from captune.text_safety import quote_bytes

DEFAULT_MAX_PIXELS = 100_000_000
MAX_ASPECT = 200
"""Maximum ratio of the sides; beyond it, resizing leaves nothing of the shorter side."""

_BLOCK_BYTES = 64 << 20
_PIECE_BYTES = 1 << 20
# Windows lacks O_NONBLOCK, has no FIFOs in folders, and needs O_BINARY.
_NO_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)

IMAGE_SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
        *(".avif", ".heic", ".heif", ".jxl", ".jp2", ".ppm", ".pgm", ".tga", ".ico"),
    )
)

# Only formats whose decoders do not run another program: EPS would start Ghostscript.
_FORMATS = (
    *("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000", "PPM"),
    *("TGA", "ICO", "HEIF", "JXL"),
)

# (start of the file, bytes that end a complete file; empty: no fixed end)
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

# (bytes 4..12 or the start, module, pip command)
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


ImageMark = Literal["animated", "truncated"]
"""What is unusual about a decoded image: only its first frame, or its intact part, was decoded."""
_ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")
_OPEN_FILE = re.compile(r" <_io\.\w+ [^>]*>")


def decode_image(source: EncodedImage, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Image.Image:
    """Decode an image to upright 8-bit RGB, with alpha on white; of animations the first frame.

    Args:
        source: A file, encoded bytes, or a member of a zip or a tar.
        max_pixels: Maximum width times height; checked in the header, before decoding.

    Returns:
        A new RGB image without metadata, not tied to the file.

    Raises:
        ImageError: `what` is one of `missing`, `io` (not a regular file, not readable), `empty`,
            `git_lfs_pointer`, `not_an_image`, `needs_plugin`, `truncated`, `corrupt`,
            `text_bomb`, `too_many_pixels`, `aspect`, `memory`.
    """
    name = describe_source(source)
    return detach(decode_upright(source, name=name, max_pixels=max_pixels, admit=_admit_all))


def decode_upright(
    source: EncodedImage,
    *,
    name: str,
    max_pixels: int,
    admit: Callable[[int, int], None],
    smallest: Size | None = None,
    mark: Callable[[ImageMark], None] | None = None,
) -> Image.Image:
    """Decode an image like `decode_image`, but call `admit` before its pixels are decoded.

    The result may still be the closed image of the file, with its metadata: use only its pixels,
    or copy them with `detach`. Callers that pass the pixels on save that copy.

    Args:
        source: A file, encoded bytes, or a member of a zip or a tar.
        name: Name of the source in errors.
        max_pixels: Maximum width times height.
        admit: Called with the width and height in the header; may wait, and may raise.
        smallest: Width and height down to which a JPEG may be decoded, which is up to seven times
            as fast; `None`: in full.
        mark: Called with what is unusual about the image; `None`: not reported.

    Raises:
        ImageError: See `decode_image`.
    """
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > 2 * Image.MAX_IMAGE_PIXELS:
        # Pillow's own limit, which is global, would override a higher one.
        Image.MAX_IMAGE_PIXELS = max_pixels
    with _open_source(source, name=name) as file:
        head = _read_head(file, name=name)
        _refuse_by_head(head, name=name)
        try:
            with Image.open(file, formats=_known_formats()) as image:
                _check_size(image.size, max_pixels=max_pixels, name=name)
                admit(*image.size)
                return_memory_of_large_images()
                if smallest is not None:
                    shrink_jpeg(image, smallest)
                image.load()
                upright = turn_upright(image)
                rgb = upright if is_plain_rgb(upright) else to_rgb(upright)
                if mark is not None and _is_animated(image):
                    mark("animated")
                return rgb
        except ImageError:
            raise
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise ImageError("too_many_pixels", where=f"{name}: {error}") from error
        except DECODER_ERRORS as error:
            raise _explain(error, head=head, file=file, name=name) from error


def return_memory_of_large_images() -> None:
    """Make Pillow return the memory of large images to the system when they are freed.

    Its blocks of 16 MB stay in the heap of the decoding thread: eight threads kept 4 GB after
    images of 81 megapixels. glibc returns every block of more than 32 MB.
    """
    # The environment variable PILLOW_BLOCK_SIZE does the same when Pillow is imported.
    core = vars(Image)["core"]
    if core.get_block_size() < _BLOCK_BYTES:
        core.set_block_size(_BLOCK_BYTES)


def detach(image: Image.Image) -> Image.Image:
    """Return a result of `decode_upright` as an image of its own, without metadata."""
    return to_rgb(image) if isinstance(image, ImageFile.ImageFile) or image.info else image


def upright_rgb(image: Image.Image) -> Image.Image:
    """Return an open PIL image as upright RGB, as `decode_image` does for a file.

    Raises:
        ImageError: Its file is broken, which shows when its pixels are read.
    """
    try:
        return to_rgb(ImageOps.exif_transpose(image))
    except DECODER_ERRORS as error:
        # `Image.open` reads only the header: a broken file shows when its pixels are read.
        what = _find_reason(error)
        raise ImageError(what, where=f"a PIL image: {_describe_error(error)}") from error


def image_hash(source: EncodedImage) -> str:
    """Return the SHA-256 of the encoded bytes, in hex: equal for byte-equal files.

    Raises:
        ImageError: The bytes cannot be read.
    """
    digest = hashlib.sha256()
    for piece in read_pieces(source):
        digest.update(piece)
    return digest.hexdigest()


def read_source(source: EncodedImage) -> bytes:
    """Return the encoded bytes of an image.

    Raises:
        ImageError: The bytes cannot be read.
    """
    return b"".join(read_pieces(source))


def read_pieces(source: EncodedImage) -> Iterator[bytes]:
    """Yield the encoded bytes of an image, a megabyte at a time.

    Raises:
        ImageError: The bytes cannot be read.
    """
    name = describe_source(source)
    with _open_source(source, name=name) as file:
        while True:
            try:
                piece = file.read(_PIECE_BYTES)
            except OSError as error:
                raise _unreadable(error, name=name) from error
            if not piece:
                return
            yield piece


def describe_source(source: EncodedImage) -> str:
    """Return a readable name of the source."""
    if isinstance(source, os.PathLike):
        return os.fspath(source)
    if isinstance(source, ZipMember | TarMember):
        return f"{source.archive}:{source.member}"
    return f"{len(source)} bytes"


def _is_animated(image: Image.Image) -> bool:
    """Return whether a decoded file holds more frames than the first; its own pixels may change."""
    # Pages of a TIFF and previews of a camera's JPEG are not frames.
    if image.format not in _ANIMATED:
        return False
    try:
        return bool(getattr(image, "is_animated", False))
    except DECODER_ERRORS:
        # What follows the first frame of a GIF is broken.
        return False


def _admit_all(_width: int, _height: int) -> None:
    """Admit every image."""


def _open_source(source: EncodedImage, *, name: str) -> IO[bytes]:
    if isinstance(source, os.PathLike):
        return _open_file(os.fspath(source), name=name)
    if isinstance(source, bytes):
        return io.BytesIO(source)
    try:
        return io.BytesIO(read_member(source))
    except ImageError:
        raise
    except DataError as error:
        # An archive that can no longer be opened fails this image only, not the run.
        raise ImageError("io", where=f"{name}: {error.what}", fix=error.fix) from error


def _open_file(path: str, *, name: str) -> IO[bytes]:
    try:
        # Checked before opening: opening a device may have any effect.
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116
            raise ImageError("io", where=f"{name}: not a regular file")
        # The file may have been replaced since; opening a FIFO blocks without O_NONBLOCK.
        descriptor = os.open(path, os.O_RDONLY | _NO_WAITING)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise ImageError("io", where=f"{name}: not a regular file")
        return os.fdopen(descriptor, "rb")
    except FileNotFoundError as error:
        raise ImageError("missing", where=f"{name}: no such file") from error
    except (OSError, ValueError) as error:
        raise _unreadable(error, name=name) from error


def _unreadable(error: OSError | ValueError, *, name: str) -> ImageError:
    reason = error.strerror if isinstance(error, OSError) else None
    return ImageError("io", where=f"{name}: {reason or error}")


def _read_head(file: IO[bytes], *, name: str) -> bytes:
    try:
        head = file.read(512)
        file.seek(0)
    except OSError as error:
        raise _unreadable(error, name=name) from error
    return head


def _refuse_by_head(head: bytes, *, name: str) -> None:
    if not head:
        raise ImageError("empty", where=f"{name}: 0 bytes")
    if head.startswith(b"version https://git-lfs"):
        raise ImageError("git_lfs_pointer", where=name, fix="`git lfs pull`")
    if b"avif" in head[8:64]:
        # AVIF may have the brand mif1 too, and Pillow reads it.
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


def _read_tail(file: IO[bytes]) -> tuple[bytes, int]:
    try:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 64))
        return file.read(), size
    except (OSError, ValueError):
        return b"", 0


def _is_cut(head: bytes, *, tail: bytes, size: int) -> bool:
    if head.startswith(b"RIFF"):
        # The length in a WebP header does not count the first 8 bytes.
        return int.from_bytes(head[4:8], "little") + 8 > size
    ends = next((end for start, end in _MAGIC if head.startswith(start)), b"")
    return bool(ends) and ends not in tail


def _explain(error: BaseException, *, head: bytes, file: IO[bytes], name: str) -> ImageError:
    where = f"{name}: {_describe_error(error)}"
    what = _find_reason(error)
    if what == "io":
        assert isinstance(error, OSError)
        return _unreadable(error, name=name)
    if what != "corrupt":
        return ImageError(what, where=where)
    is_image = any(head.startswith(start) for start, _ in _MAGIC)
    if isinstance(error, UnidentifiedImageError) and not is_image:
        return ImageError("not_an_image", where=f"{name}: starts with {quote_bytes(head[:16])}")
    tail, size = _read_tail(file)
    cut = _is_cut(head, tail=tail, size=size) or isinstance(error, EOFError)
    if cut or "truncated" in str(error).lower():
        return ImageError("truncated", where=where)
    return ImageError("corrupt", where=where)


def _describe_error(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    # Pillow names the open file, not the path.
    return _OPEN_FILE.sub("", str(error)) or type(error).__name__


def _find_reason(error: BaseException) -> str:
    """Return the reason that follows from an error alone; `corrupt` for any other error."""
    text = str(error)
    if isinstance(error, MemoryError) or text.startswith("out of memory"):
        return "memory"
    if "Decompressed data too large" in text or "MAX_TEXT" in text:
        return "text_bomb"
    # Decoders raise OSError without a number; offsets outside the file give these two.
    number = error.errno if isinstance(error, OSError) else None
    if number in (None, errno.EINVAL, errno.EOVERFLOW):
        return "corrupt"
    return "memory" if number == errno.ENOMEM else "io"
