"""From the plan of a step to its batches: pixels from worker processes, or cached features.

The content of a batch is a pure function of seed, epoch, step and image, never of worker timing or
of earlier reads, so a resumed run gets the batches it would have had without the interruption.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from captune.data import ImageDecoder, InlineDecoder, PixelSlots
from captune.errors import ImageError
from captune.hardware import Hardware
from captune.models import Captioner, fold_batch_norms, pack_captions
from captune.recipe import Recipe, View
from captune.records import IGNORE_INDEX, CaptionBatch, CaptionRecord, VisionInputs
from captune.training.batches.features import FeatureCache
from captune.training.batches.planning import (
    StepPlan,
    apply_view,
    choose_captions,
    choose_view,
    plan_epoch,
    take_share,
)
from captune.training.steps.cpu import return_freed_memory

_ENCODE_BATCH = 32


@dataclass(frozen=True, slots=True)
class TokenizedSet:
    """Records with their captions as token ids, ready to be packed.

    Attributes:
        records: Images with at least one caption.
        token_ids: Per image, the ids of its captions, start and end token included.
        num_cut: Captions that were truncated to `max_caption_tokens`.
    """

    records: Sequence[CaptionRecord]
    token_ids: Sequence[Sequence[Sequence[int]]]
    num_cut: int

    @property
    def row_lengths(self) -> list[int]:
        """Tokens per image's packed row."""
        return [sum(map(len, row)) for row in self.token_ids]


def tokenize_records(
    captioner: Captioner, records: Sequence[CaptionRecord], *, recipe: Recipe
) -> TokenizedSet:
    """Tokenize the captions once for all epochs; images without a caption are skipped."""
    kept, rows, num_cut = [], [], 0
    for record in records:
        captions = [c for c in record.captions if c.strip()]
        if not captions:
            continue
        if recipe.data.lower_case:
            captions = [c.lower() for c in captions]
        encoded = [captioner.encode_caption(c, recipe.data.max_caption_tokens) for c in captions]
        num_cut += sum(e.was_cut for e in encoded)
        kept.append(record)
        rows.append([e.token_ids for e in encoded])
    return TokenizedSet(kept, rows, num_cut)


@dataclass(slots=True)
class Feed:
    """Provides the batches of any step of any epoch.

    Attributes:
        captioner: For ids and encoding; workers do not use the model itself.
        data: The tokenized records.
        recipe: Data and training settings.
        views: Views that images are shown in; `("original",)` for validation.
        cache: Frozen features; `None`: images are decoded.
        failures: Images that could not be read so far, with the reasons.
    """

    captioner: Captioner
    data: TokenizedSet
    recipe: Recipe
    views: Sequence[View]
    cache: FeatureCache | None = None
    failures: dict[str, str] = field(default_factory=dict)

    def plan(self, epoch: int, *, micro_batch_size: int | None = None) -> list[StepPlan]:
        """Return the steps of an epoch."""
        train = self.recipe.train
        return plan_epoch(
            self.data.row_lengths,
            epoch,
            seed=self.recipe.seed,
            micro_batch_size=micro_batch_size or train.micro_batch_size,
            global_batch_size=train.global_batch_size,
        )

    def shares(self, plans: Sequence[StepPlan], *, rank: int, num_processes: int) -> list[StepPlan]:
        """Return the parts of steps that one of several processes trains on."""
        lengths, size = self.data.row_lengths, self.recipe.train.micro_batch_size
        return [
            take_share(plan, lengths, rank=rank, num_processes=num_processes, micro_batch_size=size)
            for plan in plans
        ]

    def batches(self, plans: Sequence[StepPlan]) -> Iterator[list[CaptionBatch]]:
        """Yield the micro batches of each step, in order; workers decode ahead."""
        packer = self.packer()
        if self.cache is not None:
            for plan in plans:
                yield [packer.cached(m, plan.epoch, cache=self.cache) for m in plan.micro_batches]
            return
        pixels = iter(self._decoded(plans, packer))
        for plan in plans:
            step = [self._with_pixels(next(pixels), plan.epoch, packer) for _ in plan.micro_batches]
            yield [batch for batch in step if batch is not None]

    def single_batches(self, micros: Sequence[tuple[int, ...]]) -> Iterator[CaptionBatch | None]:
        """Yield groups of images as batches, in order; `None`: none of its images can be read."""
        for step in self.batches([StepPlan(0, (micro,)) for micro in micros]):
            yield step[0] if step else None

    def encode_views(
        self, pairs: Sequence[tuple[int, int]], hardware: Hardware
    ) -> Iterator[torch.Tensor]:
        """Yield the frozen features of (image, view) pairs in order, for the cache.

        Raises:
            ImageError: An image that `prepare` could read is not readable any more.
        """
        micros = [pairs[at : at + _ENCODE_BATCH] for at in range(0, len(pairs), _ENCODE_BATCH)]
        dataset = _Pixels(self.reader(), [[(i, v) for i, v in micro] for micro in micros])
        stages = fold_batch_norms(self.captioner.frozen_vision_stages())
        for micro, decoded in zip(
            micros, _loader(dataset, self.recipe.data.num_workers), strict=True
        ):
            if len(decoded.indices) < len(micro):
                image_id, reason = next(iter(decoded.failures.items()))
                raise ImageError(
                    reason,
                    where=f"image {image_id!r}, which was readable when the data was prepared",
                    fix="run again with --from prepare",
                )
            with torch.inference_mode(), hardware.autocast():
                inputs = decoded.inputs.to(hardware.device)
                yield self.captioner.encode_frozen(inputs, stages=stages)

    def reader(self) -> PixelReader:
        """Build the reader that turns images into pixels, without the model."""
        # Workers share the slots: eight that decode 81 megapixels each would need gigabytes.
        slots = None if self.recipe.data.num_workers == 0 else PixelSlots.for_processes()
        return PixelReader(
            self.data.records,
            views=self.views,
            transform=self.captioner.image_transform(),
            decoder=InlineDecoder(max_pixels=self.recipe.data.max_pixels, slots=slots),
        )

    def packer(self) -> RowPacker:
        """Build the packer that turns images into packed rows, without the model."""
        return RowPacker(
            token_ids=self.data.token_ids,
            image_ids=[record.image_id for record in self.data.records],
            views=self.views,
            max_captions=self.recipe.data.max_captions,
            seed=self.recipe.seed,
            pad_token_id=self.captioner.pad_token_id,
            prefix_length=len(self.captioner.prefix_ids()),
        )

    def _decoded(self, plans: Sequence[StepPlan], packer: RowPacker) -> Iterable[Decoded]:
        keyed = [
            packer.with_views(micro, plan.epoch) for plan in plans for micro in plan.micro_batches
        ]
        return _loader(_Pixels(self.reader(), keyed), self.recipe.data.num_workers)

    def _with_pixels(self, decoded: Decoded, epoch: int, packer: RowPacker) -> CaptionBatch | None:
        self.failures.update(decoded.failures)
        if not decoded.indices:
            return None
        return replace(packer.pack(decoded.indices, epoch), vision_inputs=decoded.inputs)


@dataclass(frozen=True, slots=True)
class RowPacker:
    """Chooses the captions and the view of each image in an epoch, and packs its row.

    Attributes:
        token_ids: Per image, the ids of its captions.
        image_ids: Per image, its id.
        views: Views that images are shown in.
        max_captions: Maximum captions per image; `None`: all.
        seed: The recipe's.
        pad_token_id: Fills rows up.
        prefix_length: Tokens at the start of each caption that take no loss.
    """

    token_ids: Sequence[Sequence[Sequence[int]]]
    image_ids: Sequence[str]
    views: Sequence[View]
    max_captions: int | None
    seed: int
    pad_token_id: int
    prefix_length: int

    def with_views(self, micro: Sequence[int], epoch: int) -> list[tuple[int, int]]:
        """Pair each image with the index of the view that it is shown in."""
        return [(i, choose_view(self.views, i, seed=self.seed, epoch=epoch)) for i in micro]

    def pack(self, micro: Sequence[int], epoch: int) -> CaptionBatch:
        """Return the images' rows, without pixels or features."""
        key = (self.seed, epoch)
        rows = []
        for index in micro:
            row = self.token_ids[index]
            chosen = choose_captions(len(row), index, max_captions=self.max_captions, key=key)
            rows.append([row[n] for n in chosen])
        ids = [self.image_ids[index] for index in micro]
        return pack_captions(
            rows, ids, pad_token_id=self.pad_token_id, prefix_length=self.prefix_length
        )

    def cached(self, micro: Sequence[int], epoch: int, *, cache: FeatureCache) -> CaptionBatch:
        """Return the images' rows with their cached features."""
        views = [view for _, view in self.with_views(micro, epoch)]
        return replace(self.pack(micro, epoch), vision_features=cache.rows(micro, views))


def drop_words(
    batch: CaptionBatch, share: float, *, unknown_id: int, seed: tuple[int, ...]
) -> CaptionBatch:
    """Replace a share of the input words with the unknown token; labels stay.

    A regulariser for small data sets: the decoder must look at the image (Bowman et al. 2016).
    The words dropped per image depend on the seed and the image only, not on the number of
    processes or the micro batches of a step.

    Args:
        batch: On the CPU.
        share: 0..1.
        unknown_id: The token that replaces words.
        seed: The same seed drops the same words.
    """
    if share == 0.0:
        return batch
    length = batch.input_ids.shape[1]
    drawn = [_generator(seed, image_id).random(length) for image_id in batch.image_ids]
    chosen = torch.from_numpy(np.stack(drawn)) < share
    chosen &= batch.labels != IGNORE_INDEX
    return replace(batch, input_ids=batch.input_ids.masked_fill(chosen, unknown_id))


def _generator(seed: tuple[int, ...], image_id: str) -> np.random.Generator:
    digest = hashlib.blake2b(image_id.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return np.random.default_rng([*seed, int.from_bytes(digest, "little")])


@dataclass(frozen=True, slots=True)
class Decoded:
    """The images that could be decoded, and the reasons for those that could not.

    Attributes:
        indices: Their places in the data set, in row order.
        inputs: Their model inputs; `None`: none could be decoded.
        failures: Reason by image id.
    """

    indices: list[int]
    inputs: VisionInputs | None
    failures: dict[str, str]


class PixelReader:
    """Decodes images in their views; holds no model, so that workers stay small."""

    def __init__(
        self,
        records: Sequence[CaptionRecord],
        *,
        views: Sequence[View],
        transform: Callable[[Image.Image], VisionInputs],
        decoder: ImageDecoder,
    ) -> None:
        self._records = records
        self._views = views
        self._transform = transform
        self._decoder = decoder

    def read(self, pairs: Sequence[tuple[int, int]]) -> Decoded:
        """Return the inputs of (image, view) pairs, without images that cannot be decoded."""
        indices: list[int] = []
        inputs: list[VisionInputs] = []
        failures: dict[str, str] = {}
        # The views of an image are consecutive; it is decoded once.
        for index, group in groupby(pairs, key=lambda pair: pair[0]):
            record = self._records[index]
            show = partial(self._show, views=[view for _, view in group], image_id=record.image_id)
            try:
                shown = self._decoder.decode(record.image, show)
            except ImageError as error:
                failures[record.image_id] = error.what
                continue
            indices += [index] * len(shown)
            inputs += shown
        return Decoded(indices, VisionInputs.join(inputs) if inputs else None, failures)

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


class _Pixels(Dataset[Decoded]):
    """One micro batch per item."""

    def __init__(self, reader: PixelReader, micros: Sequence[Sequence[tuple[int, int]]]) -> None:
        self._reader = reader
        self._micros = micros

    def __len__(self) -> int:
        return len(self._micros)

    def __getitem__(self, place: int) -> Decoded:
        return self._reader.read(self._micros[place])


def _loader(dataset: _Pixels, num_workers: int | None) -> DataLoader[Decoded]:
    num_workers = choose_workers(num_workers, num_batches=len(dataset))
    return DataLoader(
        dataset,
        batch_size=None,
        num_workers=num_workers,
        prefetch_factor=4 if num_workers else None,
        worker_init_fn=return_freed_memory,
        # Without its own generator the loader would draw from the global one, which dropout uses:
        # a run resumed inside an epoch would then drop other units.
        generator=torch.Generator(),
    )


def choose_workers(setting: int | None, *, num_batches: int) -> int:
    """Return how many worker processes decode for this process.

    By default the machine's cores divided by its training processes, at most 8, and none for few
    batches.
    """
    if setting is not None:
        return setting
    if num_batches <= 8:
        return 0
    return max(1, min(8, _num_cores() // _num_local_processes()))


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _num_local_processes() -> int:
    """Return the training processes on this machine; all of them where that is not known."""
    # Set by torchrun (and so by accelerate), Open MPI, and MPICH or Intel MPI.
    names = ("LOCAL_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "WORLD_SIZE")
    given = (os.environ.get(name, "") for name in names)
    return max(1, next((int(value) for value in given if value.isdecimal()), 1))
