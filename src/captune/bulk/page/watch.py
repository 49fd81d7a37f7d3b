"""What a run page shows of a run, gathered image by image, in bounded memory.

A run may have a million images. Samples are drawn by reservoir, frequent captions are counted by
Space-Saving, distinct ones by linear counting, and suspicious ones are kept in short lists.

Source: Vitter, "Random sampling with a reservoir" (1985), algorithm R; Metwally et al., "Efficient
computation of frequent and top-k elements" (2005); Whang et al., "A linear-time probabilistic
counting algorithm" (1990).
"""

from __future__ import annotations

import itertools
import math
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from PIL import Image

from captune.bulk.items import Item
from captune.bulk.page.frequent import FrequentTexts
from captune.bulk.page.rarity import RareTexts
from captune.errors import ImageError
from captune.inference import AnyImage
from captune.records import Prediction

NUM_SAMPLES, NUM_SUSPICIOUS, NUM_FAILURES = 24, 24, 40
MAX_LENGTH = 40
"""Longer captions share the last bar of the histogram."""
_MAX_MARKS, _MAX_REASONS = 512, 100
# Seconds; images come in batches, and shorter intervals would show only that.
_MIN_STEP = 0.5
# Maximum bytes of an image that is only in memory: few are samples, hundreds are candidates.
_MAX_SAMPLE, _MAX_CANDIDATE = 2_000_000, 32_000
Shown = TypeVar("Shown")
_FLAGS = {"repetition": "repeats itself", "empty": "empty", "truncated": "image truncated"}
# Worth knowing, but no reason to doubt the caption.
_HARMLESS = {"animated"}


@dataclass(frozen=True, slots=True)
class RunCounts:
    """Number of images by outcome; in a complete run, `done + skipped + failed = found`."""

    found: int
    done: int
    skipped: int
    failed: int


@dataclass(frozen=True, slots=True)
class ShownItem:
    """A captioned image that the page may show."""

    name: str
    image: AnyImage | None
    caption: str
    mean_logprob: float
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ShownFailure:
    """An image that failed, with the reason."""

    name: str
    image: AnyImage | None
    error: ImageError


@dataclass(slots=True)
class _Lowest:
    """The captions with the lowest confidence, unsorted."""

    kept: list[ShownItem] = field(default_factory=list)

    def add(self, shown: ShownItem) -> None:
        self.kept.append(shown)
        if len(self.kept) >= 8 * NUM_SUSPICIOUS:
            self.kept = sorted(self.kept, key=lambda each: each.mean_logprob)[:NUM_SUSPICIOUS]


class RunWatch:
    """Records a run image by image.

    Attributes:
        num_captions: Number of captions seen.
        lengths: Number of captions of 0, 1, 2, ... words; the last bin includes longer ones.
        failure_counts: Number of failures by reason.
        failures: Some of the failed images, drawn at random.
        samples: Some of the captions, drawn at random.
        frequent: The most frequent captions.
    """

    def __init__(self, *, seed: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        """Start without images; the clock starts with `start`, or with the first one.

        Args:
            seed: Seed of the samples.
            clock: Returns seconds since a fixed moment.
        """
        self.num_captions, self.num_failures = 0, 0
        self.lengths = [0] * (MAX_LENGTH + 1)
        self.failure_counts: Counter[str] = Counter()
        self.failures: list[ShownFailure] = []
        self.samples: list[ShownItem] = []
        self.frequent = FrequentTexts()
        self._draw, self._clock, self._began = random.Random(seed), clock, clock()
        self._is_started = False
        self._ended: float | None = None
        self._lowest, self._rare = _Lowest(), RareTexts[ShownItem](NUM_SUSPICIOUS)
        self._flagged: list[ShownItem] = []
        self._num_flagged = 0
        # Seconds since the start and captions until then, at most _MAX_MARKS of them.
        self._marks: list[tuple[float, int]] = [(0.0, 0)]
        self._step = _MIN_STEP

    def start(self) -> None:
        """Start the clock, unless it runs: the model is loaded, or the first caption is there."""
        if not self._is_started:
            self._began, self._is_started = self._clock(), True

    def stop(self) -> None:
        """Stop the clock: the last caption is written; making a page takes no time of the run."""
        self._ended = self._clock()

    def add(self, item: Item, prediction: Prediction) -> None:
        """Record one caption."""
        self.start()
        self.num_captions += 1
        text = prediction.caption
        flags = tuple(prediction.flags)
        sample = ShownItem(
            item.name, _small(item.image, _MAX_SAMPLE), text, prediction.mean_logprob, flags
        )
        shown = replace(sample, image=_small(item.image, _MAX_CANDIDATE))
        words = text.split()
        self.lengths[min(len(words), MAX_LENGTH)] += 1
        self.frequent.add(" ".join(words))
        _keep(self.samples, sample, draw=self._draw, seen=self.num_captions, limit=NUM_SAMPLES)
        if math.isfinite(shown.mean_logprob):
            self._lowest.add(shown)
        self._rare.add(shown, words)
        if set(shown.flags) - _HARMLESS:
            self._num_flagged += 1
            seen, limit = self._num_flagged, NUM_SUSPICIOUS
            _keep(self._flagged, shown, draw=self._draw, seen=seen, limit=limit)
        self._mark()

    def fail(self, name: str, error: ImageError, *, image: AnyImage | None = None) -> None:
        """Record one failure."""
        self.num_failures += 1
        reason = error.what if len(self.failure_counts) < _MAX_REASONS else "other"
        self.failure_counts[reason] += 1
        failure = ShownFailure(name, _small(image, _MAX_CANDIDATE), error)
        _keep(self.failures, failure, draw=self._draw, seen=self.num_failures, limit=NUM_FAILURES)

    def throughput(self) -> list[tuple[float, float]]:
        """Return points: seconds since the start, images per second since the point before."""
        last = (self.seconds(), self.num_captions)
        is_short = len(self._marks) > 1 and last[0] - self._marks[-1][0] < self._step
        marks = [*(self._marks[:-1] if is_short else self._marks), last]
        found = []
        for (start, before), (end, after) in itertools.pairwise(marks):
            if end - start > 1e-6 and after > before:
                found.append((end, (after - before) / (end - start)))
        return found

    def seconds(self) -> float:
        """Return the seconds since the start, until the clock was stopped."""
        now = self._clock() if self._ended is None else self._ended
        return now - self._began

    def suspicious(self) -> list[tuple[ShownItem, tuple[str, ...]]]:
        """Return the captions to look at first, with the reasons; those with most reasons first."""
        reasons: dict[str, list[str]] = {}
        shown: dict[str, ShownItem] = {}
        lowest = sorted(self._lowest.kept, key=lambda each: each.mean_logprob)[:NUM_SUSPICIOUS]
        # Of few captions, most would be "low": at most one in twenty is named.
        named = lowest[: max(1, min(NUM_SUSPICIOUS, self.num_captions // 20))] if lowest else []
        for item, reason in (
            *((item, _describe_flags(item)) for item in self._flagged),
            *((item, "low confidence") for item in named),
            *((item, "unlike the others") for item in self._rare.rarest()),
        ):
            shown[item.name] = item
            found = reasons.setdefault(item.name, [])
            found += [reason] if reason not in found else []
        order = sorted(
            shown, key=lambda name: (-len(reasons[name]), _confidence(shown[name].mean_logprob))
        )
        return [(shown[name], tuple(reasons[name])) for name in order[:NUM_SUSPICIOUS]]

    def _mark(self) -> None:
        now = self.seconds()
        if now - self._marks[-1][0] < self._step:
            return
        self._marks.append((now, self.num_captions))
        if len(self._marks) >= _MAX_MARKS:
            self._marks = self._marks[::2]
            self._step = max(_MIN_STEP, 2 * now / _MAX_MARKS)


def _keep(kept: list[Shown], new: Shown, *, draw: random.Random, seen: int, limit: int) -> None:
    """Keep each of the `seen` things with equal probability (algorithm R)."""
    if len(kept) < limit:
        kept.append(new)
    elif (place := draw.randrange(seen)) < limit:
        kept[place] = new


def _small(image: AnyImage | None, limit: int) -> AnyImage | None:
    """Return an image that is cheap to keep: a file, or a small one in memory."""
    is_large = isinstance(image, Image.Image) or (isinstance(image, bytes) and len(image) > limit)
    return None if is_large else image


def _describe_flags(item: ShownItem) -> str:
    return ", ".join(_FLAGS.get(flag, flag) for flag in item.flags)


def _confidence(mean_logprob: float) -> float:
    return mean_logprob if math.isfinite(mean_logprob) else 0.0
