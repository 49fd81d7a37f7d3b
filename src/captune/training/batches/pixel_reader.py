"""Read images as model inputs from the pixel store or by decoding, in worker processes or here."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, groupby
from typing import Any, Self, TypeVar

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, default_collate
from typing_extensions import override

from captune.data import ImageDecoder
from captune.errors import DataError, ImageError
from captune.models import Transform
from captune.recipe import View
from captune.records import CaptionRecord, VisionInputs
from captune.stopping import starting_workers, survive_signals
from captune.training.batches.pixel_store import PixelStore
from captune.training.batches.planning import apply_view
from captune.training.steps.cpu import return_freed_memory

Value = TypeVar("Value")

_SHARED_FILE = "</torch_"
"""Start of the name of a file in shared memory, in torch's errors."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """The images that could be decoded, and the reasons for those that could not.

    Attributes:
        indices: Index in the data set of each decoded image, in row order.
        inputs: Model inputs of the decoded images; `None`: there are none.
        failures: Reasons by image id.
    """

    indices: list[int]
    inputs: VisionInputs | None
    failures: dict[str, str]

    def pin_memory(self) -> Self:
        """Return a copy in pinned memory, from which accelerators copy asynchronously."""
        return replace(self, inputs=None if self.inputs is None else self.inputs.pin_memory())


class PixelReader:
    """Reads images in their views; holds no model, so that workers stay small."""

    def __init__(
        self,
        records: Sequence[CaptionRecord],
        *,
        views: Sequence[View],
        transform: Transform,
        decoder: ImageDecoder,
        store: PixelStore | None = None,
    ) -> None:
        """Keep the images and how to read them.

        Args:
            records: The images.
            views: Views of the images used in training.
            transform: Converts an RGB image to model inputs.
            decoder: Decodes images that are not in the store.
            store: Keeps inputs for later epochs; `None`: every image is decoded each time.
        """
        self._records = records
        self._views = views
        self._transform = transform
        self._decoder = decoder
        self._store = store

    def read(self, pairs: Sequence[tuple[int, int]]) -> Decoded:
        """Return the inputs of (image, view) pairs, without images that cannot be decoded."""
        indices: list[int] = []
        inputs: list[VisionInputs] = []
        failures: dict[str, str] = {}
        # The views of an image are consecutive; it is decoded once.
        for index, group in groupby(pairs, key=lambda pair: pair[0]):
            try:
                shown = self._shown(index, [view for _, view in group])
            except ImageError as error:
                failures[self._records[index].image_id] = error.what
                continue
            indices += [index] * len(shown)
            inputs += shown
        return Decoded(indices, _join(inputs) if inputs else None, failures)

    def decodes_none(self, micros: Sequence[Sequence[tuple[int, int]]]) -> bool:
        """Return whether the store has rows of all pairs, so that reading is probably a copy."""
        return self._store is not None and self._store.has_written(chain.from_iterable(micros))

    def _shown(self, index: int, views: Sequence[int]) -> list[VisionInputs]:
        if self._store is None:
            return self._decode(index, views)
        # Compute the key before decoding: if the file is replaced in the meantime, old pixels must
        # not be stored under the new file's key.
        key = self._store.key(self._records[index])
        found: dict[int, VisionInputs] = {}
        for view in views:
            stored = self._store.read(index, view, key=key)
            if stored is not None:
                found[view] = stored
        missing = [view for view in views if view not in found]
        for view, inputs in zip(missing, self._decode(index, missing), strict=True):
            self._store.write(index, view, inputs=inputs, key=key)
            found[view] = inputs
        return [found[view] for view in views]

    def _decode(self, index: int, views: Sequence[int]) -> list[VisionInputs]:
        if not views:
            return []
        record = self._records[index]
        show = partial(self._show, views=views, image_id=record.image_id)
        return self._decoder.decode(record.image, show)

    def _show(
        self, image: Image.Image, *, views: Sequence[int], image_id: str
    ) -> list[VisionInputs]:
        """Return model inputs of one image's views, resized before the next image."""
        return [
            self._transform(apply_view(image, self._views[view], key=f"{image_id}#{view}"))
            for view in views
        ]

    def blank(self) -> VisionInputs:
        """Return a black image, for batches that must not be empty."""
        return self._transform(Image.new("RGB", (64, 64)))


def _join(images: Sequence[VisionInputs]) -> VisionInputs:
    """Return inputs of one image each as a batch; a worker makes it in the memory that it sends."""
    names = images[0].tensors
    return VisionInputs({n: default_collate([i.tensors[n][0] for i in images]) for n in names})


def read_ahead(
    reader: PixelReader,
    micros: Sequence[Sequence[tuple[int, int]]],
    *,
    num_workers: int | None,
    pin_memory: bool,
) -> Iterable[Decoded]:
    """Return an iterable of read micro batches, in order; worker processes read ahead.

    Args:
        reader: The reader, which is sent to the workers.
        micros: The (image, view) pairs of each micro batch.
        num_workers: `data.num_workers` of the recipe.
        pin_memory: Whether batches are copied to an accelerator from pinned memory.
    """
    # Copying stored pixels here takes less time than receiving them from a worker; for an
    # accelerator, a worker still does it while the step runs.
    if num_workers is None and not pin_memory and reader.decodes_none(micros):
        num_workers = 0
    num_workers = choose_workers(num_workers, num_batches=len(micros))
    return WorkerLoader(
        _MicroBatches(reader, micros),
        batch_size=None,
        num_workers=num_workers,
        prefetch_factor=4 if num_workers else None,
        pin_memory=pin_memory,
        # Without its own generator, the loader would draw from the global one, which dropout uses:
        # a run that resumes inside an epoch would drop other units.
        generator=torch.Generator(),
    )


class WorkerLoader(DataLoader[Value]):
    """A data loader whose workers return freed memory and leave signals to the training."""

    def __init__(self, dataset: Dataset[Any], **settings: Any) -> None:
        super().__init__(dataset, worker_init_fn=_prepare_worker, **settings)

    @override
    def __iter__(self) -> Any:
        with starting_workers():
            return super().__iter__()


@contextmanager
def explaining_lost_workers() -> Iterator[None]:
    """Turn the loss of a worker process in the body into an error that says what to do.

    torch raises it wherever the main thread is, in the middle of a step too.

    Raises:
        DataError: The system has ended a worker, or there is no room to send its images.
    """
    try:
        yield
    except RuntimeError as error:
        # "exited unexpectedly" follows from the error that names the signal.
        first = error.__cause__ if isinstance(error.__cause__, RuntimeError) else error
        reason = str(first).strip().split("\n")[-1]
        is_lost = reason.startswith("DataLoader worker (pid")
        if not is_lost and _SHARED_FILE not in reason:
            raise
        if "open files" in reason:
            fix = "allow more open files (ulimit -n 65536)"
        elif not is_lost or "shared memory" in reason:
            fix = "give the container more shared memory (docker run --shm-size=8g)"
        else:
            fix = "if the machine's memory is full, free some, or use fewer of these processes"
        raise DataError(
            f"a process that reads images for the training has failed: {reason}",
            where="data.num_workers",
            fix=f"{fix}, or set data.num_workers: 0; then run the same command with --resume",
        ) from error


def _prepare_worker(_number: int) -> None:
    return_freed_memory()
    survive_signals()


class _MicroBatches(Dataset[Decoded]):
    """One micro batch per item."""

    def __init__(self, reader: PixelReader, micros: Sequence[Sequence[tuple[int, int]]]) -> None:
        self._reader = reader
        self._micros = micros

    def __len__(self) -> int:
        return len(self._micros)

    def __getitem__(self, place: int) -> Decoded:
        return self._reader.read(self._micros[place])


def choose_workers(setting: int | None, *, num_batches: int) -> int:
    """Return the number of worker processes that decode for this process.

    Args:
        setting: `data.num_workers` of the recipe; `None`: the machine's cores divided by its
            training processes, 1 to 8, or 0 for up to 8 batches.
        num_batches: Number of batches to read.
    """
    if setting is not None:
        return setting
    if num_batches <= 8:
        return 0
    return max(1, min(8, _num_cores() // _num_local_processes()))


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _num_local_processes() -> int:
    """Return the number of training processes on this machine, or of all if that is unknown."""
    # Set by torchrun (and so by accelerate), Open MPI, and MPICH or Intel MPI.
    names = ("LOCAL_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "WORLD_SIZE")
    given = (os.environ.get(name, "") for name in names)
    return max(1, next((int(value) for value in given if value.isdecimal()), 1))
