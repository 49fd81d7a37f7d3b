"""From the plan of a step to its batches: pixels from worker processes, or cached features.

What a batch holds is a pure function of seed, epoch, step and image, never of worker timing or
of what was read before, so a resumed run sees the very batches it would have seen.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from captune.data import decode_image
from captune.data.batching import StepPlan, apply_view, choose_captions, choose_view, plan_epoch
from captune.errors import ImageError
from captune.models import Captioner, pack_captions
from captune.models.devices import Hardware
from captune.recipe import Recipe
from captune.recipe.schema import View
from captune.records import IGNORE_INDEX, CaptionBatch, CaptionRecord
from captune.training.feature_cache import FeatureCache

_ENCODE_BATCH = 32


@dataclass(frozen=True, slots=True)
class TokenizedSet:
    """Records with their captions as token ids, ready to be packed.

    Attributes:
        records: Images with at least one caption.
        token_ids: For each image, its captions' ids, start and end token included.
        num_cut: Captions that were cut to `max_caption_tokens`.
    """

    records: Sequence[CaptionRecord]
    token_ids: Sequence[Sequence[Sequence[int]]]
    num_cut: int

    @property
    def row_lengths(self) -> list[int]:
        """Tokens of each image's packed row."""
        return [sum(map(len, row)) for row in self.token_ids]


def tokenize_records(
    captioner: Captioner, records: Sequence[CaptionRecord], *, recipe: Recipe
) -> TokenizedSet:
    """Tokenizes once what every epoch will use; images without a caption are left out."""
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
    """Gives the batches of any step of any epoch.

    Attributes:
        captioner: For ids and encoding; the model itself is not touched by workers.
        data: Tokenized training set.
        recipe: Data and training settings.
        views: Views that a training image may show; `("original",)` to validate.
        cache: Frozen features, or `None` to decode images.
    """

    captioner: Captioner
    data: TokenizedSet
    recipe: Recipe
    views: Sequence[View]
    cache: FeatureCache | None = None
    failures: dict[str, str] = field(default_factory=dict)

    def plan(self, epoch: int, *, micro_batch_size: int | None = None) -> list[StepPlan]:
        """The steps of an epoch."""
        train = self.recipe.train
        return plan_epoch(
            self.data.row_lengths,
            epoch,
            seed=self.recipe.seed,
            micro_batch_size=micro_batch_size or train.micro_batch_size,
            global_batch_size=train.global_batch_size,
        )

    def batches(self, plans: Sequence[StepPlan]) -> Iterator[list[CaptionBatch]]:
        """The micro batches of each step, in order; workers decode ahead."""
        if self.cache is not None:
            for plan in plans:
                yield [self._cached(micro, plan.epoch) for micro in plan.micro_batches]
            return
        micros = [(micro, plan.epoch) for plan in plans for micro in plan.micro_batches]
        pixels = iter(self._decoded(micros))
        for plan in plans:
            step = [self._with_pixels(next(pixels), plan.epoch) for _ in plan.micro_batches]
            yield [batch for batch in step if batch is not None]

    def single_batches(self, micros: Sequence[tuple[int, ...]]) -> Iterator[CaptionBatch]:
        """Given groups of images as batches, in order: what validation reads."""
        for step in self.batches([StepPlan(0, (micro,)) for micro in micros]):
            yield from step

    def encode_views(
        self, pairs: Sequence[tuple[int, int]], hardware: Hardware
    ) -> Iterator[torch.Tensor]:
        """Frozen features of (image, view) pairs in order, for the cache.

        Raises:
            ImageError: An image that `prepare` could read has become unreadable.
        """
        micros = [pairs[at : at + _ENCODE_BATCH] for at in range(0, len(pairs), _ENCODE_BATCH)]
        dataset = _Pixels(self, [[(i, v) for i, v in micro] for micro in micros])
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
                yield self.captioner.encode_frozen(decoded.pixels.to(hardware.device))

    def _cached(self, micro: Sequence[int], epoch: int) -> CaptionBatch:
        if self.cache is None:
            raise ValueError("no cache")
        views = [self._view(i, epoch) for i in micro]
        return replace(self._pack(micro, epoch), vision_features=self.cache.rows(micro, views))

    def _decoded(self, micros: Sequence[tuple[Sequence[int], int]]) -> Iterable[_Decoded]:
        keyed = [[(i, self._view(i, epoch)) for i in micro] for micro, epoch in micros]
        return _loader(_Pixels(self, keyed), self.recipe.data.num_workers)

    def _with_pixels(self, decoded: _Decoded, epoch: int) -> CaptionBatch | None:
        self.failures.update(decoded.failures)
        if not decoded.indices:
            return None
        return replace(self._pack(decoded.indices, epoch), pixel_values=decoded.pixels)

    def _view(self, index: int, epoch: int) -> int:
        return choose_view(self.views, index, seed=self.recipe.seed, epoch=epoch)

    def _pack(self, micro: Sequence[int], epoch: int) -> CaptionBatch:
        key = (self.recipe.seed, epoch)
        rows = []
        for index in micro:
            row = self.data.token_ids[index]
            most = self.recipe.data.max_captions
            rows.append([row[n] for n in choose_captions(len(row), index, most=most, key=key)])
        ids = [self.data.records[index].image_id for index in micro]
        return pack_captions(rows, ids, pad_token_id=self.captioner.pad_token_id)


def drop_words(
    batch: CaptionBatch, share: float, *, unknown_id: int, seed: tuple[int, ...]
) -> CaptionBatch:
    """Replaces a share of the input words by the unknown token; labels stay.

    A regulariser for small sets: the decoder must look at the image (Bowman et al. 2016).

    Args:
        batch: On the CPU.
        share: 0..1.
        unknown_id: Token put in place.
        seed: The same seed drops the same words.
    """
    if share == 0.0:
        return batch
    generator = torch.Generator().manual_seed(hash(seed) & (2**63 - 1))
    chosen = torch.rand(batch.input_ids.shape, generator=generator) < share
    chosen &= batch.labels != IGNORE_INDEX
    return replace(batch, input_ids=batch.input_ids.masked_fill(chosen, unknown_id))


@dataclass(frozen=True, slots=True)
class _Decoded:
    """Pixels of the images that could be decoded, and why the others could not."""

    indices: list[int]
    pixels: torch.Tensor
    failures: dict[str, str]


class _Pixels(Dataset[_Decoded]):
    """Decodes a micro batch an item; holds no model, so that workers stay light."""

    def __init__(self, feed: Feed, micros: Sequence[Sequence[tuple[int, int]]]) -> None:
        self._records = feed.data.records
        self._views = feed.views
        self._transform = feed.captioner.image_transform()
        self._max_pixels = feed.recipe.data.max_pixels
        self._micros = micros

    def __len__(self) -> int:
        return len(self._micros)

    def __getitem__(self, place: int) -> _Decoded:
        indices, images, failures = [], [], {}
        decoded: dict[int, Image.Image] = {}
        for index, view in self._micros[place]:
            record = self._records[index]
            try:
                if index not in decoded:  # its views lie side by side
                    decoded[index] = decode_image(record.image, max_pixels=self._max_pixels)
            except ImageError as error:
                failures[record.image_id] = error.what
                continue
            image = decoded[index]
            indices.append(index)
            images.append(apply_view(image, self._views[view], key=f"{record.image_id}#{view}"))
        if not images:
            return _Decoded([], torch.empty(0), failures)
        pixels = self._transform.batch(images)
        return _Decoded(indices, pixels, failures)


def _loader(dataset: _Pixels, num_workers: int | None) -> DataLoader[_Decoded]:
    if num_workers is None:
        num_workers = min(8, _num_cores()) if len(dataset) > 8 else 0
    return DataLoader(
        dataset,
        batch_size=None,
        num_workers=num_workers,
        prefetch_factor=4 if num_workers else None,
        # Without its own generator each loader draws from the global one, which dropout uses: a
        # run resumed inside an epoch would then drop other units.
        generator=torch.Generator(),
    )


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
