"""METEOR 1.5 (`-l en -norm`) as coco-caption computes it, without Java.

Written from the papers (Denkowski and Lavie 2014) and from black-box observation of the jar; its
source was never read. The data (paraphrases, synsets, word lists) comes from an installed
pycocoevalcap wheel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
import numpy.typing as npt

from captune.errors import MetricError
from captune.metrics.meteor.align import align
from captune.metrics.meteor.captions import Captions
from captune.metrics.meteor.data import MeteorData, load_data
from captune.metrics.meteor.match import Block, Matches, find_matches
from captune.metrics.meteor.normalize import normalize_captions
from captune.metrics.meteor.phrases import Phrases, Rules, find_phrases
from captune.metrics.meteor.words import Words
from captune.metrics.packed import Vocabulary, pack_tokens
from captune.suggest import format_count

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NUM_STATISTICS = 23
"""Statistics per image: 4 lengths, 16 match counts, chunks, matched words on both sides."""
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
MATCHER_WEIGHTS = (1.0, 0.6, 0.8, 0.6)
# Images aligned together: enough to amortise numpy's calls, few enough to stay in the cache.
_BLOCK = 500
# Predictions with at least this many words are aligned alone, since their paths are wide.
_LONG = 512
MAX_WORD_PAIRS = 4_000_000
"""Largest product of the words of a prediction and of a reference; beyond it, memory runs out."""


@dataclass(frozen=True, slots=True)
class MeteorResult:
    """METEOR of a set of predictions.

    Attributes:
        corpus: The value of the whole set, 0..1.
        per_image: float64 (images,), 0..1: each prediction against its best reference.
        statistics: float64 (images, 23): the jar's numbers for the best reference.
    """

    corpus: float
    per_image: Floats
    statistics: Floats

    @property
    def parts(self) -> Floats:
        """Additive parts, float64 (images, 23); `score_parts` computes values from their sums."""
        return _additive(self.statistics)


@dataclass(frozen=True, slots=True)
class _Packed:
    """All captions as numbers, with METEOR's data for them.

    Attributes:
        left: Predictions.
        right: References, image by image.
        bounds: int64 (images + 1,), where each image's references start.
        words: METEOR's view of the word numbers.
        phrases: Phrases of the predictions, then of the references.
        rules: Rules for the phrases that may replace each other.
    """

    left: Captions
    right: Captions
    bounds: Ints
    words: Words
    phrases: Phrases
    rules: Rules

    def take(self, images: slice) -> Block:
        """Return some images with their own vocabulary, which keeps the table of words small."""
        bounds = self.bounds[images.start : images.stop + 1]
        first, last = int(bounds[0]), int(bounds[-1])
        left, right = self.left.slice(images.start, images.stop), self.right.slice(first, last)
        used, numbers = np.unique(np.concatenate([left.words, right.words]), return_inverse=True)
        before = len(self.left.lengths)
        return Block(
            predictions=Captions(numbers[: len(left.words)], left.starts),
            references=Captions(numbers[len(left.words) :], right.starts),
            owner=np.repeat(np.arange(len(bounds) - 1), np.diff(bounds)),
            words=self.words.take(used),
            phrases=(
                self.phrases.slice(images.start, images.stop),
                self.phrases.slice(before + first, before + last),
            ),
            rules=self.rules,
        )


class Meteor:
    """The metric with its tables open; create one and use it for many sets."""

    def __init__(self, data: MeteorData) -> None:
        """Use tables that are already open; `Meteor.load()` opens them."""
        self._data = data

    @classmethod
    def load(cls) -> Meteor:
        """Return the metric with open tables; the first call builds a cache from pycocoevalcap.

        Raises:
            MissingExtraError: pycocoevalcap is not installed.
            MetricError: Its data files are missing or damaged.
            OutputError: The cache folder cannot be written.
        """
        return cls(load_data())

    def score(
        self,
        references: Sequence[Sequence[Sequence[str]]],
        predictions: Sequence[Sequence[str]],
        *,
        image_ids: Sequence[str] | None = None,
    ) -> MeteorResult:
        """Return the scores of predictions against their references.

        Args:
            references: References of each image, each a list of tokens of `tokenize`. Their order
                matters: if two score the same, the statistics of the first count.
            predictions: One list of tokens per image.
            image_ids: Names of the images in error messages; `None`: their numbers.

        Returns:
            Values equal to those of pycocoevalcap.

        Raises:
            MetricError: Different numbers of images, an image without references, or two captions
                so long that comparing them would fill the memory.
        """
        _check_counts(references, predictions, image_ids)
        vocabulary = Vocabulary()
        flat = [tokens for group in references for tokens in group]
        return self.score_captions(
            Captions.of_packed(pack_tokens(predictions, vocabulary)),
            Captions.of_packed(pack_tokens(flat, vocabulary)),
            references_each=np.fromiter(map(len, references), np.int64, len(references)),
            vocabulary=vocabulary,
            image_ids=image_ids,
        )

    def score_captions(
        self,
        predictions: Captions,
        references: Captions,
        *,
        references_each: Ints,
        vocabulary: Vocabulary,
        image_ids: Sequence[str] | None = None,
    ) -> MeteorResult:
        """Return the scores of captions given as word ids; see `score`.

        Args:
            predictions: Tokens of `tokenize`, one caption per image.
            references: The same, image by image.
            references_each: int64 (images,), number of references of each image, at least one.
            vocabulary: The words of both.
            image_ids: Names of the images in error messages; `None`: their numbers.

        Raises:
            MetricError: Two captions are so long that comparing them would fill the memory.
        """
        packed = self._pack(
            predictions, references, references_each=references_each, vocabulary=vocabulary
        )
        _check_lengths(packed, image_ids)
        blocks = [self._score_block(packed, images) for images in _cut_blocks(packed.left.lengths)]
        statistics = np.concatenate([np.zeros((0, NUM_STATISTICS)), *blocks])
        corpus = float(score_parts(_additive(statistics).sum(axis=0)))
        return MeteorResult(corpus, score_statistics(statistics), statistics)

    def _pack(
        self, left: Captions, right: Captions, *, references_each: Ints, vocabulary: Vocabulary
    ) -> _Packed:
        prefixes = self._data.prefixes
        known = Vocabulary(vocabulary)
        left = normalize_captions(left, known, prefixes=prefixes, hypotheses=True)
        right = normalize_captions(right, known, prefixes=prefixes, hypotheses=False)
        names = list(known)
        both = left.join(right)
        used = np.bincount(both.words, minlength=len(names)) > 0
        words = Words.look_up(self._data, list(compress(names, used.tolist())))
        both = Captions((np.cumsum(used) - 1)[both.words], both.starts)
        phrases, rules = find_phrases(both, table_numbers=words.table_numbers, data=self._data)
        return _Packed(
            left=both.slice(0, len(left.lengths)),
            right=both.slice(len(left.lengths), len(both.lengths)),
            bounds=np.append(0, np.cumsum(references_each)),
            words=words,
            phrases=phrases,
            rules=rules,
        )

    def _score_block(self, packed: _Packed, images: slice) -> Floats:
        """Return the statistics of each image's best reference."""
        block = packed.take(images)
        matches = find_matches(block)
        chosen = align(
            matches,
            prediction_lengths=block.predictions.lengths[block.owner],
            reference_lengths=block.references.lengths,
        )
        statistics = _count(matches, chosen, block)
        return statistics[_pick_best(score_statistics(statistics), block.owner)]


def score_statistics(statistics: Floats) -> Floats:
    """Return the values of single captions from the jar's 23 numbers, (..., 23) -> (...)."""
    return score_parts(_additive(statistics))


def score_parts(parts: Floats) -> Floats:
    """Return METEOR of additive parts or of their sums, (..., 23) -> (...).

    A bootstrap resamples rows of `MeteorResult.parts`, adds them up and calls this.
    """
    counts = parts[..., 4:20].reshape(*parts.shape[:-1], 4, 4)
    # Columns: prediction and reference content words, then prediction and reference function words.
    # Summed in the jar's order, so that the values are equal to the last bit.
    matched = np.zeros((*parts.shape[:-1], 2))
    for share, columns in ((DELTA, slice(0, 2)), (1 - DELTA, slice(2, 4))):
        for matcher, weight in enumerate(MATCHER_WEIGHTS):
            matched += weight * share * counts[..., matcher, columns]
    lengths = DELTA * (parts[..., 0:2] - parts[..., 2:4]) + (1 - DELTA) * parts[..., 2:4]
    with np.errstate(divide="ignore", invalid="ignore"):
        precision, recall = np.moveaxis(matched / lengths, -1, 0)
        mean = 1 / ((1 - ALPHA) / precision + ALPHA / recall)
        fragmentation = parts[..., 20] / ((parts[..., 21] + parts[..., 22]) / 2)
        value = mean * (1 - GAMMA * fragmentation**BETA)
    return np.where(matched.min(axis=-1) > 0, value, 0.0)


def _additive(statistics: Floats) -> Floats:
    """Return the numbers to sum: a caption matched as one whole chunk adds no chunk."""
    parts = statistics.copy()
    whole = (statistics[..., 21:23] == statistics[..., 0:2]).all(axis=-1)
    parts[..., 20] = np.where(whole & (statistics[..., 20] == 1), 0.0, statistics[..., 20])
    return parts


def _check_counts(
    references: Sequence[Sequence[Sequence[str]]],
    predictions: Sequence[Sequence[str]],
    image_ids: Sequence[str] | None,
) -> None:
    if len(references) != len(predictions):
        raise MetricError(
            f"{format_count(len(predictions), 'prediction')} for the references of"
            f" {format_count(len(references), 'image')}",
            fix="give one prediction per image",
        )
    for place, group in enumerate(references):
        if not group:
            raise MetricError(
                "an image has no references",
                where=_name(place, image_ids),
                fix="add a human caption for it, or remove its prediction",
            )


def _check_lengths(packed: _Packed, image_ids: Sequence[str] | None) -> None:
    owner = np.repeat(np.arange(len(packed.bounds) - 1), np.diff(packed.bounds))
    sizes = packed.left.lengths[owner] * packed.right.lengths
    if sizes.max(initial=0) > MAX_WORD_PAIRS:
        pair = int(sizes.argmax())
        place = int(owner[pair])
        raise MetricError(
            f"a prediction of {packed.left.lengths[place]} words against a reference of"
            f" {packed.right.lengths[pair]} words is too long for METEOR",
            where=_name(place, image_ids),
            fix=f"keep the product of both lengths under {MAX_WORD_PAIRS:,}",
        )


def _name(place: int, image_ids: Sequence[str] | None) -> str:
    return f"image number {place}" if image_ids is None else f"image_id {image_ids[place]}"


def _cut_blocks(lengths: Ints) -> Iterator[slice]:
    """Yield slices of images to align together; a very long prediction is aligned alone."""
    start = 0
    for place in range(1, len(lengths) + 1):
        full = place - start == _BLOCK or place == len(lengths)
        if full or lengths[place - 1 : place + 1].max() > _LONG:
            yield slice(start, place)
            start = place


def _count(matches: Matches, chosen: Ints, block: Block) -> Floats:
    """Return the jar's 23 numbers for every pair."""
    owner = block.owner
    pair = matches.pair[chosen]
    column = 4 + 4 * matches.matcher[chosen]
    starts = (matches.prediction[chosen], matches.reference[chosen])
    lengths = (matches.prediction_length[chosen], matches.reference_length[chosen])
    table = np.zeros((len(owner), NUM_STATISTICS))
    sides = (
        (block.predictions, owner, owner[pair]),
        (block.references, np.arange(len(owner)), pair),
    )
    for side, (captions, rows, here) in enumerate(sides):
        function = np.r_[0, np.cumsum(block.words.function[captions.words])]
        table[:, side] = captions.lengths[rows]
        table[:, 2 + side] = np.diff(function[captions.starts])[rows]
        first = captions.starts[here] + starts[side]
        light = function[first + lengths[side]] - function[first]
        _add(table, pair, column=column + side, values=lengths[side] - light)
        _add(table, pair, column=column + side + 2, values=light)
        _add(table, pair, column=np.full_like(pair, 21 + side), values=lengths[side])
    ends = (starts[0] + lengths[0], starts[1] + lengths[1])
    joined = (pair[1:] == pair[:-1]) & (starts[0][1:] == ends[0][:-1])
    joined &= starts[1][1:] == ends[1][:-1]
    opening = np.r_[np.ones(min(1, len(pair)), dtype=np.bool_), ~joined]
    _add(table, pair, column=np.full_like(pair, 20), values=opening)
    return table


def _add(table: Floats, rows: Ints, *, column: Ints, values: Ints | npt.NDArray[np.bool_]) -> None:
    """Add values to cells; a repeated cell is added to each time."""
    places = rows * table.shape[1] + column
    table += np.bincount(places, weights=values, minlength=table.size).reshape(table.shape)


def _pick_best(values: Floats, owner: Ints) -> Ints:
    """Return the first of each image's best references."""
    order = np.lexsort((-values, owner))
    return order[np.r_[True, owner[order][1:] != owner[order][:-1]]]
