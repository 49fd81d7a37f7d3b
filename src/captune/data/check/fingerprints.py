"""The features of images that are used to compare them, one image at a time or many in columns.

A worker process that fingerprints images imports this module: keep it light.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

_GRID = 8
_THUMBNAIL = 16
_MIN_STEP = 2
"""Minimum difference of grey levels for a bit of 1; smaller ones may be JPEG noise."""

FINGERPRINT = np.dtype(
    [
        ("pixels", np.uint8, 32),
        ("bands", np.uint16, 8),
        ("width", np.uint32),
        ("height", np.uint32),
        ("thumbnail", np.uint8, (_THUMBNAIL, _THUMBNAIL, 3)),
    ]
)
"""The fingerprint of an image as one row of an array."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The features of an image that are used to compare it.

    Attributes:
        pixels: SHA-256 of size and RGB pixels, in hex.
        bands: Difference hash, uint16 (8,).
        thumbnail: uint8 (16, 16, 3).
        width: Width in pixels.
        height: Height in pixels.
    """

    pixels: str
    bands: npt.NDArray[np.uint16]
    thumbnail: npt.NDArray[np.uint8]
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """The fingerprints of N images in columns: a million are 60 MB, and thumbnails on disk.

    Attributes:
        pixels: SHA-256, uint8 (N, 32).
        bands: Difference hashes, uint16 (N, 8).
        widths: uint32 (N,).
        heights: uint32 (N,).
        thumbnails: uint8 (M, 16, 16, 3), in memory or mapped from a file.
        rows: Row of each image in `thumbnails`, int64 (N,).
    """

    pixels: npt.NDArray[np.uint8]
    bands: npt.NDArray[np.uint16]
    widths: npt.NDArray[np.uint32]
    heights: npt.NDArray[np.uint32]
    thumbnails: npt.NDArray[np.uint8]
    rows: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.pixels)

    def read_thumbnails(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Return the thumbnails (n, 16, 16, 3) at some positions."""
        return self.thumbnails[self.rows[places]]


class FingerprintBatch:
    """Fingerprints of several images: the small copies are laid side by side and read at once.

    Args:
        size: Maximum number of images.
    """

    def __init__(self, size: int) -> None:
        self._digests: list[bytes] = []
        self._sizes: list[tuple[int, int]] = []
        self._thumbnails = Image.new("RGB", (_THUMBNAIL, _THUMBNAIL * size))
        self._rows = Image.new("L", (_GRID + 1, _GRID * size))
        self._columns = Image.new("L", (_GRID, (_GRID + 1) * size))

    def add(self, image: Image.Image) -> None:
        """Add an upright RGB image."""
        place = len(self._sizes)
        digest = hashlib.sha256(f"{image.width}x{image.height}".encode())
        digest.update(image.tobytes())
        small = image.resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX)
        self._thumbnails.paste(small, (0, _THUMBNAIL * place))
        grey = image.convert("L")
        rows = grey.resize((_GRID + 1, _GRID), Image.Resampling.BOX)
        self._rows.paste(rows, (0, _GRID * place))
        columns = grey.resize((_GRID, _GRID + 1), Image.Resampling.BOX)
        self._columns.paste(columns, (0, (_GRID + 1) * place))
        self._sizes.append(image.size)
        self._digests.append(digest.digest())

    def finish(self) -> npt.NDArray[np.void]:
        """Return the fingerprints of the images added, `FINGERPRINT` (n,)."""
        count = len(self._sizes)
        found = np.zeros(count, FINGERPRINT)
        found["pixels"] = np.frombuffer(b"".join(self._digests), np.uint8).reshape(count, 32)
        found["width"], found["height"] = np.array(self._sizes, np.uint32).reshape(count, 2).T
        thumbnails = np.asarray(self._thumbnails).reshape(-1, _THUMBNAIL, _THUMBNAIL, 3)
        found["thumbnail"] = thumbnails[:count]
        rows = np.asarray(self._rows, np.int16).reshape(-1, _GRID, _GRID + 1)[:count]
        columns = np.asarray(self._columns, np.int16).reshape(-1, _GRID + 1, _GRID)[:count]
        along_rows = rows[:, :, :-1] - rows[:, :, 1:] >= _MIN_STEP
        along_columns = columns[:, :-1] - columns[:, 1:] >= _MIN_STEP
        bits = np.concatenate([along_rows, along_columns], axis=1).reshape(count, -1)
        found["bands"] = np.packbits(bits, axis=1).view(np.uint16)
        return found


def fingerprint_image(image: Image.Image) -> Fingerprint:
    """Return the fingerprint of an upright RGB image."""
    row = fingerprint_row(image)[0]
    return Fingerprint(
        pixels=row["pixels"].tobytes().hex(),
        bands=row["bands"],
        thumbnail=row["thumbnail"],
        width=int(row["width"]),
        height=int(row["height"]),
    )


def fingerprint_row(image: Image.Image) -> npt.NDArray[np.void]:
    """Return the fingerprint of an upright RGB image as an array, `FINGERPRINT` (1,)."""
    batch = FingerprintBatch(1)
    batch.add(image)
    return batch.finish()


def perceptual_hash(image: Image.Image) -> npt.NDArray[np.uint16]:
    """Return the difference hash of an RGB image, uint16 (8,); near images differ in few bits."""
    return fingerprint_image(image).bands


def stack_fingerprints(prints: Sequence[Fingerprint]) -> Fingerprints:
    """Return fingerprints in columns."""
    count = len(prints)
    # Only whether they are equal matters.
    digests = b"".join(hashlib.sha256(each.pixels.encode()).digest() for each in prints)
    return Fingerprints(
        pixels=np.frombuffer(digests, np.uint8).reshape(count, 32),
        bands=np.array([each.bands for each in prints], np.uint16).reshape(count, _GRID),
        widths=np.array([each.width for each in prints], np.uint32),
        heights=np.array([each.height for each in prints], np.uint32),
        thumbnails=np.array([each.thumbnail for each in prints], np.uint8).reshape(
            count, _THUMBNAIL, _THUMBNAIL, 3
        ),
        rows=np.arange(count),
    )
