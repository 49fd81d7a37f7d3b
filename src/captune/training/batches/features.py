"""The output of the frozen vision part, computed once per image and view and kept across epochs.

An image is decoded and encoded once, however many epochs and captions use it. The features are one
float16 array, in memory or in a file that later runs with the same weights and images reuse.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch

from captune.data import read_source
from captune.errors import ImageError, ModelError, OutputError
from captune.hardware import Recorder, find_recorder, free_cached_memory, is_out_of_memory
from captune.models import Captioner
from captune.recipe import View
from captune.records import CaptionRecord, VisionInputs
from captune.storage import sync_file
from captune.training.batches.feature_file import (
    create_file,
    damaged_rows,
    open_features,
    write_rows,
)
from captune.training.team import Team

_READERS = 8


class CacheFileError(OutputError):
    """The file for the features cannot be created; the training can do without it."""


FeatureBatches = Callable[[Sequence[tuple[int, int]]], Iterable[torch.Tensor]]
"""Yields the frozen features of (image, view) pairs in order, batch by batch."""


@dataclass(frozen=True, slots=True)
class FeatureCache:
    """Features by image and view.

    Attributes:
        array: float16 (images * views, ...); row i * views + v is view v of image i.
        num_views: Views per image.
    """

    array: np.ndarray
    num_views: int

    def rows(
        self, indices: Sequence[int], views: Sequence[int], *, pin_memory: bool = False
    ) -> torch.Tensor:
        """Return features (B, ...) of some images, each in its own view.

        Args:
            indices: Indices of the images.
            views: Index of each image's view.
            pin_memory: Whether to return pinned memory for an accelerator, in float16, half the
                bytes, which the captioner widens there; otherwise float32.
        """
        places = [i * self.num_views + v for i, v in zip(indices, views, strict=True)]
        if pin_memory:
            return torch.from_numpy(self.array[places]).pin_memory()
        return torch.from_numpy(self.array[places].astype(np.float32))


@dataclass(slots=True)
class HalvingEncoder:
    """Encodes batches of images; one that does not fit into memory is encoded in smaller parts.

    Attributes:
        encode: Returns the frozen features of some images on the device.
        device: The device, whose unused memory is freed before another try.
        size: Maximum number of images at once; halved when memory runs out.
    """

    encode: Callable[[VisionInputs], torch.Tensor]
    device: torch.device
    size: int

    def __call__(self, inputs: VisionInputs) -> torch.Tensor:
        """Return the features of all images of a batch.

        Raises:
            ModelError: A single image does not fit.
        """
        parts: list[torch.Tensor] = []
        start = 0
        while start < len(inputs):
            part = self._try(inputs.rows(slice(start, start + self.size)))
            if part is not None:
                parts.append(part)
                start += len(part)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _try(self, inputs: VisionInputs) -> torch.Tensor | None:
        """Return the features; `None`: out of memory, and the size has been halved."""
        try:
            return self.encode(inputs)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(inputs) == 1:
                raise ModelError(
                    f"the vision part cannot encode one image in the memory of {self.device}",
                    where="model",
                    fix="stop other programs on the device, or use another device or a smaller"
                    " model",
                ) from error
        # Outside `except`: the error would hold the tensors of the failed pass.
        self.size = len(inputs) // 2
        free_cached_memory(self.device)
        return None


def choose_storage(
    setting: str, captioner: Captioner, *, num_rows: int, epochs: float, folder: Path
) -> str:
    """Return where features are cached: `memory`, `disk` or `off`.

    `auto` caches if a vision part is frozen, there is more than one epoch, and the array fits in
    half of the free disk space, or else in half of the free memory.

    Args:
        setting: `train.feature_cache` of the recipe.
        captioner: The model, with its parts frozen.
        num_rows: Number of images times number of views.
        epochs: Number of passes over the images.
        folder: Folder on the disk that would hold the file.
    """
    if captioner.frozen_stages == 0 or setting == "off":
        return "off"
    if setting != "auto":
        return setting
    if epochs <= 1:
        return "off"
    needed = count_feature_bytes(captioner, num_rows)
    if needed < shutil.disk_usage(folder).free // 2:
        return "disk"
    return "memory" if needed < _free_memory() // 2 else "off"


def count_feature_bytes(captioner: Captioner, num_rows: int) -> int:
    """Return the bytes of a number of cached rows, measured by encoding a blank image."""
    from PIL import Image

    with torch.inference_mode():
        blank = captioner.vision_inputs([Image.new("RGB", (64, 64))]).to(captioner.device)
        return 2 * captioner.encode_frozen(blank).numel() * num_rows


def cache_key(
    captioner: Captioner,
    records: Sequence[CaptionRecord],
    *,
    views: Sequence[View],
    exact_pixels: bool = True,
) -> str:
    """Return a key that changes with the frozen weights, the preprocessing, images and views.

    Images are compared by their bytes: an image that is replaced under its old name is encoded
    again, and one that is only moved is not.

    Args:
        captioner: The model, with its parts frozen.
        records: The images.
        views: Views of the images.
        exact_pixels: `data.exact_pixels` of the recipe.
    """
    digest = hashlib.blake2b(digest_size=16)
    for stage in captioner.parts().vision_layers[: captioner.frozen_stages]:
        for module in stage:
            for name, tensor in module.state_dict().items():
                digest.update(name.encode())
                digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    digest.update(str(captioner.image_processor).encode())
    # Threads help: the interpreter lock is released while bytes are read and hashed.
    with ThreadPoolExecutor(_READERS) as pool:
        contents = pool.map(_content_digest, records)
        for record, content in zip(records, contents, strict=True):
            digest.update(json.dumps([record.image_id, content]).encode())
    digest.update(" ".join(views).encode())
    if not exact_pixels:
        digest.update(b"fast pixels")
    return digest.hexdigest()


def _content_digest(record: CaptionRecord) -> str:
    try:
        return hashlib.blake2b(read_source(record.image), digest_size=16).hexdigest()
    except ImageError as error:
        # The error is reported when the image is decoded.
        return error.what


def build_feature_cache(
    encode: FeatureBatches,
    *,
    num_images: int,
    num_views: int,
    file: Path | None,
    team: Team,
) -> FeatureCache:
    """Build the cache, or read it from `file` if that exists.

    With a file, each process of a machine encodes its share into the machine's file; in memory,
    each process encodes all rows.

    Args:
        encode: Computes features in the order of the pairs.
        num_images: Number of images, at least one.
        num_views: Number of views per image.
        file: File whose name identifies its content (`cache_key`); damaged rows are encoded again.
            `None`: cache in memory.
        team: The processes; all of them must call this.

    Raises:
        CacheFileError: The disk has no room for the file, in every process.
        OutputError: The file cannot be written.
    """
    pairs = [(i, v) for i in range(num_images) for v in range(num_views)]
    if file is None:
        return FeatureCache(_encode_in_memory(encode, pairs), num_views)
    mates = _gather_mates(team)
    own = range(len(pairs))[mates.share(len(pairs))]
    damaged = damaged_rows(file, len(pairs), rows=own)
    if any(rows is None for rows in team.gather(damaged)):
        _encode_together(encode, pairs, file=file, mates=mates)
    elif damaged:
        batches = to_host(encode([pairs[row] for row in damaged]))
        write_rows(file, damaged, batches=batches)
    team.wait_for_all()
    return FeatureCache(open_features(file), num_views)


@dataclass(frozen=True, slots=True)
class _Mates:
    """The processes of one machine, which share a file.

    Attributes:
        team: All processes, of all machines.
        name: The machine's name and the process number of the first one.
        place: This process's position among them.
        size: Number of processes.
    """

    team: Team
    name: str
    place: int
    size: int

    def share(self, total: int) -> slice:
        """Return the rows of this process; the first process always has some."""
        size = -(-total // self.size)
        return slice(min(self.place * size, total), min((self.place + 1) * size, total))


def _gather_mates(team: Team) -> _Mates:
    crew = team.gather((socket.gethostname(), os.getpid()))
    own_host, _ = crew[team.rank]
    mates = [rank for rank, (host, _) in enumerate(crew) if host == own_host]
    place = mates.index(team.rank)
    return _Mates(team, f"{own_host}.{crew[mates[0]][1]}", place, len(mates))


def _encode_in_memory(encode: FeatureBatches, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    batches = to_host(encode(pairs))
    first = next(batches)
    array = np.empty((len(pairs), *first.shape[1:]), np.float16)
    _fill(array, chain([first], batches))
    return array


def _encode_together(
    encode: FeatureBatches, pairs: Sequence[tuple[int, int]], *, file: Path, mates: _Mates
) -> None:
    """Write the file of this machine; each process writes its own rows."""
    wait = mates.team.wait_for_all
    rows = mates.share(len(pairs))
    temporary = file.with_name(f".{file.name}.{mates.name}")

    batches = to_host(encode(pairs[rows]) if pairs[rows] else ())
    first = list(islice(batches, 1))
    failure = None
    if mates.place == 0:
        try:
            _delete_leftovers(temporary)
            create_file(temporary, (len(pairs), *first[0].shape[1:]))
        except OutputError as error:
            failure = CacheFileError(error.what, where=error.where, fix=error.fix)
    # If one disk is full, all do without the file, or the others would wait forever.
    for reason in mates.team.gather(failure):
        if reason is not None:
            raise reason
    write_rows(temporary, range(len(pairs))[rows], batches=chain(first, batches))
    wait()
    if mates.place == 0:
        sync_file(temporary)
        temporary.replace(file)
    wait()


def _delete_leftovers(temporary: Path) -> None:
    """Delete the temporary files of killed processes on this machine."""
    host, _, _ = temporary.name.rpartition(".")
    if temporary.parent.is_dir():
        for leftover in temporary.parent.glob(f"{glob.escape(host)}.*"):
            leftover.unlink()


def _fill(array: np.ndarray, batches: Iterable[np.ndarray]) -> None:
    place = 0
    for rows in batches:
        array[place : place + len(rows)] = rows
        place += len(rows)


def to_host(
    batches: Iterable[torch.Tensor],
    *,
    recorder_of: Callable[[torch.device], Recorder | None] = find_recorder,
) -> Iterator[np.ndarray]:
    """Yield features as float16 on the CPU, in order.

    CUDA computes the next batch while the caller checks and writes one.

    Args:
        batches: Features on any device.
        recorder_of: Returns what copies from a device without waiting for later work.
    """
    limit = float(np.finfo(np.float16).max)
    waiting: deque[Callable[[], torch.Tensor]] = deque()
    for features in batches:
        half = features.detach().float().clamp(-limit, limit).to(torch.float16)
        recorder = recorder_of(half.device)
        waiting.append(half.cpu if recorder is None else recorder.fetch(half))
        if recorder is None or len(waiting) > 1:
            yield waiting.popleft()().numpy()
    for fetch in waiting:
        yield fetch().numpy()


def _free_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (ValueError, AttributeError, OSError):
        return 0
