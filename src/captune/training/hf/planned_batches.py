"""A recipe's planned steps as a torch DataLoader for Hugging Face's Trainer.

The plan assigns images to steps, for any number of processes; Trainer only requests one micro
batch after another. It iterates over keys, and skips the first ones when it resumes inside an
epoch, so no skipped image is decoded. Trainer skips with a plain DataLoader, whose workers a signal
could end while they start, so the batches of the remaining keys have their own loader.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from captune.models import pack_captions
from captune.records import CaptionBatch
from captune.training.batches.feeding import Feed
from captune.training.batches.pixel_reader import WorkerLoader, choose_workers
from captune.training.batches.planning import StepPlan, count_shares
from captune.training.hf.collator import Inputs, batch_inputs

Value = TypeVar("Value")

Key = tuple[int, tuple[int, ...]]
"""Epoch of a micro batch, and the indices of its images."""

Planned = tuple[Inputs, int, dict[str, str]]
"""A micro batch's inputs, the number of images read, and the reasons of the others by image id."""


class PlannedSteps(Sampler[list[Key]]):
    """Keys of this process's micro batches in an epoch, the same number in every process.

    A process with fewer images than another may get an empty micro batch.
    """

    def __init__(self, feed: Feed, *, rank: int, num_processes: int) -> None:
        self._feed = feed
        self._rank, self._num_processes = rank, num_processes
        self._micro_batch_size = feed.recipe.train.micro_batch_size
        self._epoch = -1
        self._plans: list[StepPlan] = []
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Plan an epoch for the next pass over the keys."""
        if epoch != self._epoch:
            self._epoch, self._plans = epoch, self._feed.plan(epoch)

    @property
    def accumulation(self) -> int:
        """Micro batches per full step in each process."""
        return max(self._num_micro_batches(plan) for plan in self._plans)

    def images_of_step(self, step_in_epoch: int) -> int:
        """Return the number of images in a step of the planned epoch, over all processes."""
        return self._plans[step_in_epoch].num_images

    def __len__(self) -> int:
        return sum(self._num_micro_batches(plan) for plan in self._plans)

    def __iter__(self) -> Iterator[list[Key]]:
        shares = self._feed.shares(self._plans, rank=self._rank, num_processes=self._num_processes)
        for plan, share in zip(self._plans, shares, strict=True):
            own = share.micro_batches
            for micro in (*own, *[()] * (self._num_micro_batches(plan) - len(own))):
                yield [(plan.epoch, micro)]

    def _num_micro_batches(self, plan: StepPlan) -> int:
        """Return the number of micro batches in the process that has the most."""
        if self._num_processes == 1:
            return len(plan.micro_batches)
        largest = count_shares(plan.num_images, self._num_processes)[0]
        return math.ceil(largest / self._micro_batch_size)


class PlannedBatches(Dataset[Planned]):
    """Inputs of micro batches by key; holds no model, so that workers stay small."""

    def __init__(self, feed: Feed) -> None:
        self._packer, self._reader, self._cache = feed.packer(), feed.reader(), feed.cache

    def __getitem__(self, key: Key) -> Planned:
        epoch, micro = key
        if not micro:
            return batch_inputs(self._empty()), 0, {}
        if self._cache is not None:
            cached = self._packer.cached(micro, epoch, cache=self._cache)
            return batch_inputs(cached), len(micro), {}
        decoded = self._reader.read(self._packer.with_views(micro, epoch))
        if not decoded.indices:
            return batch_inputs(self._empty()), 0, decoded.failures
        batch = self._packer.pack(decoded.indices, epoch)
        inputs = batch_inputs(replace(batch, vision_inputs=decoded.inputs))
        return inputs, len(decoded.indices), decoded.failures

    def _empty(self) -> CaptionBatch:
        """Return a black image and a token that the loss ignores: all gradients are zero."""
        pad = self._packer.pad_token_id
        batch = pack_captions([[[pad]]], [""], pad_token_id=pad)
        if self._cache is not None:
            return replace(batch, vision_features=torch.zeros(1, *self._cache.array.shape[1:]))
        return replace(batch, vision_inputs=self._reader.blank())


class _Keys(Dataset[Key]):
    """Returns each key of a micro batch unchanged."""

    def __getitem__(self, key: Key) -> Key:
        return key


def key_loader(steps: PlannedSteps) -> DataLoader[Key]:
    """Return a loader of the keys of the sampler's epoch."""
    return DataLoader(
        _Keys(),
        batch_sampler=steps,
        collate_fn=_only_one,
        # Without its own generator, the loader would draw from the global one, which dropout uses.
        generator=torch.Generator(),
    )


def planned_inputs(feed: Feed, keys: Iterable[Key]) -> Iterator[Inputs]:
    """Yield the inputs of the keys' micro batches; worker processes decode ahead.

    Raises:
        DataError: Too many images can no longer be read.
    """
    for inputs, num_read, failures in _planned_loader(feed, keys):
        if feed.lost is not None:
            feed.lost.count(num_read, failures)
        yield inputs


def _planned_loader(feed: Feed, keys: Iterable[Key]) -> DataLoader[Planned]:
    batches = [[key] for key in keys]
    workers = 0
    if feed.cache is None:
        workers = choose_workers(feed.recipe.data.num_workers, num_batches=len(batches))
    return WorkerLoader(
        PlannedBatches(feed),
        batch_sampler=batches,
        collate_fn=_only_one,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        pin_memory=feed.pin_memory,
        generator=torch.Generator(),
    )


def _only_one(items: list[Value]) -> Value:
    return items[0]
