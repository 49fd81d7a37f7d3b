"""The frozen vision part's output, computed once an image and view and kept across epochs.

An image is decoded once and encoded once, however many epochs and captions learn from it. Kept in
float16 in one array, in memory or in a file that later runs of the same weights and images reuse.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from captune.models import Captioner
from captune.recipe import View
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
    file: Path | None,
    accelerator: Accelerator,
) -> FeatureCache:
    """The cache, read back from `file` where it lies there.

    The processes of one machine encode a share each, into one file; an array in memory is each
    process's own.

    Args:
        encode: Computes features in the order asked for.
        num_images: Images, at least one.
        num_views: Views of each.
        file: Its name says what it holds (`cache_key`); written aside and renamed when it is
            whole. `None`: in memory.
        accelerator: Every process must come here.
    """
    pairs = [(i, v) for i in range(num_images) for v in range(num_views)]
    if file is None:
        return FeatureCache(_encode_in_memory(encode, pairs), num_views)
    if not all(gather_object([file.is_file()])):
        file.parent.mkdir(parents=True, exist_ok=True)
        _encode_together(encode, pairs, file=file, accelerator=accelerator)
    return FeatureCache(np.load(file, mmap_mode="r"), num_views)


def _encode_in_memory(encode: FeatureBatches, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    batches = iter(encode(pairs))
    first = _as_float16(next(batches))
    array = np.empty((len(pairs), *first.shape[1:]), np.float16)
    _fill(array, chain([first], map(_as_float16, batches)))
    return array


def _encode_together(
    encode: FeatureBatches,
    pairs: Sequence[tuple[int, int]],
    *,
    file: Path,
    accelerator: Accelerator,
) -> None:
    """Writes the file of this machine, whose processes write their own rows of it each."""
    crew = gather_object([(socket.gethostname(), os.getpid())])
    own_host, _ = crew[accelerator.process_index]
    mates = [rank for rank, (host, _) in enumerate(crew) if host == own_host]
    leads = accelerator.process_index == mates[0]
    rows = _share(len(pairs), mates.index(accelerator.process_index), of=len(mates))
    name = f".{file.name}.{own_host}."
    aside = file.with_name(f"{name}{crew[mates[0]][1]}")

    batches = map(_as_float16, encode(pairs[rows]) if pairs[rows] else ())
    first = list(islice(batches, 1))
    if leads:
        for killed in file.parent.glob(f"{glob.escape(name)}*"):
            killed.unlink()
        shape = (len(pairs), *first[0].shape[1:])
        np.lib.format.open_memmap(aside, mode="w+", dtype=np.float16, shape=shape)
    accelerator.wait_for_everyone()
    array = np.load(aside, mmap_mode="r+")
    _fill(array[rows], chain(first, batches))
    array.flush()
    accelerator.wait_for_everyone()
    if leads:
        aside.replace(file)
    accelerator.wait_for_everyone()


def _share(total: int, place: int, *, of: int) -> slice:
    """The rows of one of several processes; the first has the most, so that it has some."""
    size = -(-total // of)
    return slice(min(place * size, total), min((place + 1) * size, total))


def _fill(array: np.ndarray, batches: Iterable[np.ndarray]) -> None:
    place = 0
    for rows in batches:
        array[place : place + len(rows)] = rows
        place += len(rows)


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
