"""Batches of planned steps, with pixels from worker processes or with cached features.

The content of a batch is a pure function of seed, epoch, step and image, never of worker timing or
earlier reads, so a resumed run gets the same batches as an uninterrupted one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice

import numpy as np
import torch

from captune.data import InlineDecoder, PixelSlots, pick_records
from captune.errors import ImageError
from captune.hardware import Hardware
from captune.models import (
    Captioner,
    LevelTransform,
    Transform,
    fast_stages,
    fold_batch_norms,
    level_transform,
    pack_captions,
)
from captune.recipe import Recipe, View
from captune.records import IGNORE_INDEX, CaptionBatch, CaptionRecord, VisionInputs
from captune.training.batches.features import FeatureCache, HalvingEncoder
from captune.training.batches.lost_images import LostImages
from captune.training.batches.pixel_reader import Decoded, PixelReader, read_ahead
from captune.training.batches.pixel_store import PixelStore, StoredSet
from captune.training.batches.planning import (
    StepPlan,
    before_views,
    choose_captions,
    choose_view,
    count_shares,
    plan_epoch,
    take_share,
)
from captune.training.batches.prefetch import prefetch
from captune.training.batches.token_rows import ImageIds, TokenRows

REHEARSED = "(rehearsal)"
"""Id of the images of a rehearsed batch."""

_ENCODE_BATCH = 32
_TOKENIZE_BATCH = 500


@dataclass(frozen=True, slots=True)
class TokenizedSet:
    """Records with their captions as token ids, ready to be packed.

    Attributes:
        records: Images with at least one caption.
        token_ids: Per image, the ids of its captions, start and end token included.
        num_cut: Number of captions that were truncated to `max_caption_tokens`.
    """

    records: Sequence[CaptionRecord]
    token_ids: TokenRows
    num_cut: int

    @property
    def row_lengths(self) -> list[int]:
        """Number of tokens of each image's packed row."""
        return self.token_ids.row_lengths


def tokenize_records(
    captioner: Captioner, records: Sequence[CaptionRecord], *, recipe: Recipe
) -> TokenizedSet:
    """Return the records with tokenized captions; images without a caption are skipped.

    Args:
        captioner: Provides the tokenizer.
        records: Images and captions.
        recipe: Its `data.lower_case` and `data.max_caption_tokens` are applied.
    """
    kept: list[int] = []
    num_cut = 0
    encoder = captioner.caption_encoder()

    def iter_rows() -> Iterator[list[tuple[int, ...]]]:
        nonlocal num_cut
        numbered = enumerate(records)
        while some := list(islice(numbered, _TOKENIZE_BATCH)):
            rows = [[c for c in record.captions if c.strip()] for _, record in some]
            captions = [c.lower() if recipe.data.lower_case else c for row in rows for c in row]
            encoded = encoder.encode_all(captions, recipe.data.max_caption_tokens)
            num_cut += sum(each.was_cut for each in encoded)
            token_ids = (each.token_ids for each in encoded)
            for (place, _), row in zip(some, rows, strict=True):
                if row:
                    kept.append(place)
                    yield list(islice(token_ids, len(row)))

    rows = TokenRows.of(iter_rows())
    return TokenizedSet(pick_records(records, np.array(kept, np.int64)), rows, num_cut)


@dataclass(slots=True)
class Feed:
    """Provides the batches of any step of any epoch.

    Attributes:
        captioner: Provides ids and encodes features; workers do not get the model.
        data: The tokenized records.
        recipe: Data and training settings.
        views: Views of the images used in training; `("original",)` for validation.
        cache: Frozen features; `None`: images are decoded.
        store: Keeps decoded images for later epochs; `None`: each epoch decodes them.
        pin_memory: Whether batches go to an accelerator that copies from pinned memory.
        failures: Images that could not be read so far, with the reasons.
        lost: Warns of them, and ends the training if they are many; `None`: they are only listed.
    """

    captioner: Captioner
    data: TokenizedSet
    recipe: Recipe
    views: Sequence[View]
    cache: FeatureCache | None = None
    store: PixelStore | None = None
    pin_memory: bool = False
    failures: dict[str, str] = field(default_factory=dict)
    lost: LostImages | None = None

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
        """Return the shares of steps on which the process `rank` trains."""
        lengths, size = self.data.row_lengths, self.recipe.train.micro_batch_size
        return [
            take_share(plan, lengths, rank=rank, num_processes=num_processes, micro_batch_size=size)
            for plan in plans
        ]

    def batches(self, plans: Sequence[StepPlan]) -> Iterator[list[CaptionBatch]]:
        """Yield the micro batches of each step, in order; workers decode ahead."""
        packer = self.packer()
        if self.cache is not None:
            pack = partial(packer.cached, cache=self.cache, pin_memory=self.pin_memory)
            steps = ([pack(m, plan.epoch) for m in plan.micro_batches] for plan in plans)
            # Otherwise an accelerator would wait while rows are read and packed.
            yield from prefetch(steps) if self.pin_memory else steps
            return
        pixels = iter(self._decoded(plans, packer))
        for plan in plans:
            step = [self._with_pixels(next(pixels), plan.epoch, packer) for _ in plan.micro_batches]
            yield [batch for batch in step if batch is not None]

    def single_batches(self, micros: Sequence[tuple[int, ...]]) -> Iterator[CaptionBatch | None]:
        """Yield each group of images as a batch, in order; `None`: none of them can be read."""
        for step in self.batches([StepPlan(0, (micro,)) for micro in micros]):
            yield step[0] if step else None

    def largest_batch(self, num_processes: int) -> CaptionBatch:
        """Return a micro batch as large as any of the run, of black images that are not decoded.

        Args:
            num_processes: Number of processes that share each step.
        """
        train, lengths = self.recipe.train, np.asarray(self.data.row_lengths)
        share = count_shares(min(train.global_batch_size, len(lengths)), num_processes)[0]
        longest = np.argsort(lengths, kind="stable")[-min(train.micro_batch_size, share) :]
        batch = self.packer().pack_longest(longest.tolist())
        count = len(batch.image_ids)
        if self.cache is not None:
            features = torch.zeros(count, *self.cache.array.shape[1:])
            return replace(batch, vision_features=features)
        return replace(batch, vision_inputs=VisionInputs.join([self.reader().blank()] * count))

    def encode_views(
        self, pairs: Sequence[tuple[int, int]], hardware: Hardware
    ) -> Iterator[torch.Tensor]:
        """Yield the frozen features of (image, view) pairs in order, for the cache.

        Raises:
            ImageError: An image that `prepare` could read is no longer readable.
            ModelError: A single image does not fit into memory.
        """
        micros = [pairs[at : at + _ENCODE_BATCH] for at in range(0, len(pairs), _ENCODE_BATCH)]
        folded = fold_batch_norms(self.captioner.frozen_vision_stages())
        stages = fast_stages(folded, hardware.dtype)

        def encode(inputs: VisionInputs) -> torch.Tensor:
            with torch.inference_mode(), hardware.autocast():
                moved = inputs.to(hardware.device, non_blocking=True)
                return self.captioner.encode_frozen(moved, stages=stages)

        encoder = HalvingEncoder(encode, hardware.device, _ENCODE_BATCH)
        for micro, decoded in zip(micros, self._read_ahead(micros), strict=True):
            if decoded.inputs is None or len(decoded.indices) < len(micro):
                image_id, reason = next(iter(decoded.failures.items()))
                raise ImageError(
                    reason,
                    where=f"image {image_id!r}, which was readable when the data was prepared",
                    fix="run again with --from prepare",
                )
            yield encoder(decoded.inputs)

    def reader(self) -> PixelReader:
        """Return the reader that converts images to pixels, which does not hold the model."""
        # Workers share the slots: eight that decode 81 megapixels each would need gigabytes.
        slots = None if self.recipe.data.num_workers == 0 else PixelSlots.for_processes()
        transform = self.transform()
        smallest = transform.smallest_input if isinstance(transform, LevelTransform) else None
        return PixelReader(
            self.data.records,
            views=self.views,
            transform=transform,
            decoder=InlineDecoder(
                max_pixels=self.recipe.data.max_pixels,
                slots=slots,
                smallest=None if smallest is None else before_views(smallest, self.views),
            ),
            store=self.store,
        )

    def transform(self) -> Transform:
        """Return the function from an RGB image to model inputs, which `reader` applies."""
        transform = self.captioner.image_transform()
        return level_transform(transform, exact=self.recipe.data.exact_pixels)

    def stored_set(self, name: str) -> StoredSet:
        """Return the description of a pixel store for this feed."""
        transform = self.transform()
        pixels_from = transform.describe() if isinstance(transform, LevelTransform) else ""
        return StoredSet(
            name,
            num_images=len(self.data.records),
            num_views=len(self.views),
            sample=self.reader().blank(),
            pixels_from=f"{pixels_from}\n{self.views}\n{self.recipe.data.max_pixels}",
        )

    def packer(self) -> RowPacker:
        """Return the packer that converts images to packed rows, which does not hold the model."""
        return RowPacker(
            token_ids=self.data.token_ids,
            image_ids=ImageIds(self.data.records),
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
        return self._read_ahead(keyed)

    def _read_ahead(self, micros: Sequence[Sequence[tuple[int, int]]]) -> Iterable[Decoded]:
        return read_ahead(
            self.reader(),
            micros,
            num_workers=self.recipe.data.num_workers,
            pin_memory=self.pin_memory,
        )

    def _with_pixels(self, decoded: Decoded, epoch: int, packer: RowPacker) -> CaptionBatch | None:
        self.failures.update(decoded.failures)
        if self.lost is not None:
            self.lost.count(len(decoded.indices), decoded.failures)
        if not decoded.indices:
            return None
        return replace(packer.pack(decoded.indices, epoch), vision_inputs=decoded.inputs)


@dataclass(frozen=True, slots=True)
class RowPacker:
    """Chooses the captions and the view of each image in an epoch, and packs its row.

    Attributes:
        token_ids: Token ids of each image's captions.
        image_ids: Id of each image.
        views: Views of the images used in training.
        max_captions: Maximum number of captions per image; `None`: all.
        seed: Seed of the recipe.
        pad_token_id: Id that fills up shorter rows.
        prefix_length: Number of tokens at the start of each caption that the loss excludes.
    """

    token_ids: Sequence[Sequence[Sequence[int]]]
    image_ids: Sequence[str]
    views: Sequence[View]
    max_captions: int | None
    seed: int
    pad_token_id: int
    prefix_length: int

    def with_views(self, micro: Sequence[int], epoch: int) -> list[tuple[int, int]]:
        """Return each image with the index of its view in the epoch."""
        return [(i, choose_view(self.views, i, seed=self.seed, epoch=epoch)) for i in micro]

    def pack(self, micro: Sequence[int], epoch: int) -> CaptionBatch:
        """Return the images' rows, without pixels or features."""
        key = (self.seed, epoch)
        rows = []
        for index in micro:
            row = self.token_ids[index]
            chosen = choose_captions(len(row), index, max_captions=self.max_captions, key=key)
            rows.append([row[n] for n in chosen])
        return self._pack(rows, [self.image_ids[index] for index in micro])

    def pack_longest(self, micro: Sequence[int]) -> CaptionBatch:
        """Return the images' rows with their longest captions, under the id `REHEARSED`."""
        rows = [sorted(self.token_ids[index], key=len)[::-1] for index in micro]
        return self._pack([row[: self.max_captions] for row in rows], [REHEARSED] * len(rows))

    def _pack(self, rows: Sequence[Sequence[Sequence[int]]], ids: Sequence[str]) -> CaptionBatch:
        return pack_captions(
            rows, ids, pad_token_id=self.pad_token_id, prefix_length=self.prefix_length
        )

    def cached(
        self,
        micro: Sequence[int],
        epoch: int,
        *,
        cache: FeatureCache,
        pin_memory: bool = False,
    ) -> CaptionBatch:
        """Return the images' rows with their cached features; see `FeatureCache.rows`."""
        views = [view for _, view in self.with_views(micro, epoch)]
        features = cache.rows(micro, views, pin_memory=pin_memory)
        return replace(self.pack(micro, epoch), vision_features=features)


def drop_words(
    batch: CaptionBatch, share: float, *, unknown_id: int, seed: tuple[int, ...]
) -> CaptionBatch:
    """Return a batch with a share of the input tokens replaced by the unknown token; labels stay.

    This regularises small data sets: the decoder must look at the image. The tokens dropped per
    image depend only on the seed and the image, not on the number of processes or the micro batches
    of a step.

    Args:
        batch: The batch, on the CPU.
        share: Share of tokens to replace, 0..1.
        unknown_id: Id of the token that replaces words.
        seed: Seed of the draw, together with the image's id.

    Source: Bowman et al. 2016, "Generating sentences from a continuous space", section 3.1.
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
