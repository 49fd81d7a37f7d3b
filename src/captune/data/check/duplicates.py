"""Equal and nearly equal images, found by hash in time proportional to the number of images.

The exact hash covers the decoded pixels, so it finds copies with other metadata or in another
lossless format. The near hash is a difference hash (Krawetz 2013, "Kind of Like That") of 128 bits,
64 along rows and 64 along columns. Two hashes that differ in at most 7 bits agree in at least one
of 8 bands of 16 bits, so only images that share a band are compared; a 16x16 thumbnail then
decides, because flat drawings may have equal hashes but different colours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

_GRID = 8
_BANDS = 8
_MAX_BITS = _BANDS - 1
_THUMBNAIL = 16
_MAX_MEAN_DIFFERENCE = 10.0
_MAX_CELL_DIFFERENCE = 40.0
_MIN_STEP = 2
"""Minimum difference of grey levels for a bit of 1; smaller ones may be JPEG noise."""
_CHUNK = 512


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


def fingerprint_image(image: Image.Image) -> Fingerprint:
    """Return the fingerprint of an upright RGB image."""
    digest = hashlib.sha256(f"{image.width}x{image.height}".encode())
    digest.update(image.tobytes())
    thumbnail = image.resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX)
    return Fingerprint(
        pixels=digest.hexdigest(),
        bands=perceptual_hash(image),
        thumbnail=np.asarray(thumbnail, dtype=np.uint8),
        width=image.width,
        height=image.height,
    )


def perceptual_hash(image: Image.Image) -> npt.NDArray[np.uint16]:
    """Return the difference hash of an RGB image, uint16 (8,); near images differ in few bits."""
    grey = image.convert("L")
    rows = _grey_grid(grey, width=_GRID + 1, height=_GRID)
    columns = _grey_grid(grey, width=_GRID, height=_GRID + 1)
    along_rows = rows[:, :-1] - rows[:, 1:] >= _MIN_STEP
    along_columns = columns[:-1, :] - columns[1:, :] >= _MIN_STEP
    bits = np.concatenate([along_rows.reshape(-1), along_columns.reshape(-1)])
    return np.packbits(bits).view(np.uint16)


def group_exact(prints: Sequence[Fingerprint]) -> list[list[int]]:
    """Return groups of two or more positions of fingerprints with equal pixels."""
    places: dict[str, list[int]] = {}
    for place, fingerprint in enumerate(prints):
        places.setdefault(fingerprint.pixels, []).append(place)
    return [group for group in places.values() if len(group) > 1]


def group_near(prints: Sequence[Fingerprint]) -> list[list[int]]:
    """Return groups of two or more positions of fingerprints that are nearly equal.

    A chain of near images is one group. Of exactly equal images only the first is compared.
    """
    first: dict[str, int] = {}
    for place, fingerprint in enumerate(prints):
        first.setdefault(fingerprint.pixels, place)
    places = np.fromiter(first.values(), dtype=np.int64)
    if len(places) < 2:
        return []
    bands = np.stack([prints[place].bands for place in places])
    thumbnails = np.stack([prints[place].thumbnail for place in places])
    labels = np.arange(len(places))
    for band in range(_BANDS):
        order = np.argsort(bands[:, band], kind="stable")
        edges = np.flatnonzero(np.diff(bands[order, band])) + 1
        for run in np.split(order, edges):
            _join_run(run, labels, bands=bands.view(np.uint64), thumbnails=thumbnails)
    groups: dict[int, list[int]] = {}
    for place, label in zip(places.tolist(), labels.tolist(), strict=True):
        groups.setdefault(label, []).append(place)
    return [group for group in groups.values() if len(group) > 1]


def _grey_grid(grey: Image.Image, *, width: int, height: int) -> npt.NDArray[np.int16]:
    return np.asarray(grey.resize((width, height), Image.Resampling.BOX), dtype=np.int16)


def _join_run(
    run: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int64],
    *,
    bands: npt.NDArray[np.uint64],
    thumbnails: npt.NDArray[np.uint8],
) -> None:
    """Give near images of one run, which share a band, the same label, in place."""
    for place in range(len(run) - 1):
        image, others = run[place], run[place + 1 :]
        # Members of one group are not compared again: thousands of blank pages need one pass.
        others = others[labels[others] != labels[image]]
        if not len(others):
            continue
        distance = np.bitwise_count(bands[others] ^ bands[image]).sum(axis=1)
        others = others[distance <= _MAX_BITS]
        for start in range(0, len(others), _CHUNK):
            block = others[start : start + _CHUNK]
            near = block[_are_near(thumbnails[image], thumbnails[block])]
            if len(near):
                joined = np.append(labels[near], labels[image])
                labels[np.isin(labels, joined)] = joined.min()


def _are_near(
    thumbnail: npt.NDArray[np.uint8], others: npt.NDArray[np.uint8]
) -> npt.NDArray[np.bool_]:
    difference = others.astype(np.float32) - thumbnail
    # A change of brightness or tint does not make another picture.
    shift = difference.mean(axis=(1, 2), keepdims=True)
    rest = np.abs(difference - np.clip(shift, -_MAX_CELL_DIFFERENCE, _MAX_CELL_DIFFERENCE))
    near: npt.NDArray[np.bool_] = (rest.mean(axis=(1, 2, 3)) <= _MAX_MEAN_DIFFERENCE) & (
        rest.max(axis=(1, 2, 3)) <= _MAX_CELL_DIFFERENCE
    )
    return near
