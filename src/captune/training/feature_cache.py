"""The frozen vision part's output, computed once an image and view and kept across epochs.

An image is decoded once and encoded once, however many epochs and captions learn from it. Kept in
float16 in one array, in memory or in a file that later runs of the same weights and images reuse.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from captune.models import Captioner
from captune.recipe.schema import View
from captune.records import CaptionRecord

FeatureBatches = Callable[[Sequence[tuple[int, int]]], Iterable[torch.Tensor]]
"""Given (image, view) pairs, yields their frozen features in order, batch by batch."""


@dataclass(frozen=True, slots=True)
class FeatureCache:
    """Features by image and view.

    Attributes:
        array: float16 (images * views, ...); image i's view v lies at i * views + v.
        num_views: Views an image.
    """

    array: np.ndarray
    num_views: int

    def rows(self, indices: Sequence[int], views: Sequence[int]) -> torch.Tensor:
        """float32 features (B, ...) of some images, each in its own view."""
        places = [i * self.num_views + v for i, v in zip(indices, views, strict=True)]
        return torch.from_numpy(self.array[places].astype(np.float32))


def choose_storage(
    setting: str, captioner: Captioner, *, num_rows: int, epochs: float, folder: Path
) -> str:
    """`memory`, `disk` or `off`.

    `auto` caches when something is frozen, more than one pass is made over the images, and the
    array fits into half of what is free on the disk, or in memory where the disk is too full.

    Args:
        setting: The recipe's `train.feature_cache`.
        captioner: With its parts frozen.
        num_rows: Images times views.
        epochs: Passes that will be made.
        folder: Where the file would lie.
    """
    if captioner.frozen_stages == 0 or setting == "off":
        return "off"
    if setting != "auto":
        return setting
    if epochs <= 1:
        return "off"
    needed = num_rows * _row_bytes(captioner)
    if needed < shutil.disk_usage(folder).free // 2:
        return "disk"
    return "memory" if needed < _free_memory() // 2 else "off"


def cache_key(
    captioner: Captioner, records: Sequence[CaptionRecord], *, views: Sequence[View]
) -> str:
    """Changes when the frozen weights, the preprocessing, the images or the views change."""
    digest = hashlib.blake2b(digest_size=16)
    for stage in captioner.parts().vision_layers[: captioner.frozen_stages]:
        for module in stage:
            for name, tensor in module.state_dict().items():
                digest.update(name.encode())
                digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    digest.update(str(captioner.image_processor).encode())
    digest.update(json.dumps([r.image_id for r in records]).encode())
    digest.update(" ".join(views).encode())
    return digest.hexdigest()


def build_feature_cache(
    encode: FeatureBatches,
    *,
    num_images: int,
    num_views: int,
    storage: str,
    path: Path,
    key: str,
) -> FeatureCache:
    """The cache, read back from `path` when a file of the same key lies there.

    Args:
        encode: Computes features in the order asked for.
        num_images: Images.
        num_views: Views of each.
        storage: `memory` or `disk`.
        path: The array's file (`disk`), written aside and renamed when it is whole.
        key: From `cache_key`.
    """
    keyed = path.with_name(f"{path.stem}-{key}.npy")
    if storage == "disk" and keyed.is_file():
        return FeatureCache(np.load(keyed, mmap_mode="r"), num_views)
    pairs = [(i, v) for i in range(num_images) for v in range(num_views)]
    aside = keyed.with_name(f".{keyed.name}.{os.getpid()}")
    array = None
    place = 0
    for features in encode(pairs):
        rows = _as_float16(features)
        if array is None:
            array = _allocate((len(pairs), *rows.shape[1:]), storage, aside)
        array[place : place + len(rows)] = rows
        place += len(rows)
    if array is None:
        array = np.zeros((0, 1), np.float16)
    elif storage == "disk":
        array.flush()  # type: ignore[attr-defined]
        aside.replace(keyed)
        array = np.load(keyed, mmap_mode="r")
    return FeatureCache(array, num_views)


def _allocate(shape: tuple[int, ...], storage: str, aside: Path) -> np.ndarray:
    if storage == "memory":
        return np.empty(shape, np.float16)
    aside.parent.mkdir(parents=True, exist_ok=True)
    return np.lib.format.open_memmap(aside, mode="w+", dtype=np.float16, shape=shape)


def _as_float16(features: torch.Tensor) -> np.ndarray:
    limit = float(np.finfo(np.float16).max)
    clamped = features.detach().float().clamp(-limit, limit)
    return clamped.to(torch.float16).cpu().numpy()


def _row_bytes(captioner: Captioner) -> int:
    """Bytes of one cached image, found by encoding an empty one."""
    from PIL import Image

    with torch.inference_mode():
        pixels = captioner.pixel_values([Image.new("RGB", (64, 64))]).to(captioner.device)
        return 2 * captioner.encode_frozen(pixels).numel()


def _free_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (ValueError, AttributeError, OSError):
        return 0
