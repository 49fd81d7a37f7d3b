"""METEOR 1.5 (`-l en -norm`) as coco-caption computes it, without Java.

Written from the papers (Denkowski and Lavie 2014) and from black-box observation of the jar; its
source was never read. The data (paraphrases, synsets, word lists) comes from an installed
pycocoevalcap wheel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from captune.errors import MetricError
from captune.metrics.meteor_align import align
from captune.metrics.meteor_captions import Captions
from captune.metrics.meteor_data import MeteorData, load_data
from captune.metrics.meteor_match import Matches, find_matches
from captune.metrics.meteor_normalize import normalize
from captune.metrics.meteor_words import Words

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NUM_STATISTICS = 23
"""Additive numbers an image: 4 lengths, 16 match counts, chunks, matched words on both sides."""
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
MATCHER_WEIGHTS = (1.0, 0.6, 0.8, 0.6)
# Images aligned together: enough to amortise numpy's calls, few enough to stay in the cache.
_BLOCK = 500


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
        """What adds up over images, float64 (images, 23); `score_parts` turns sums into values."""
        return _additive(self.statistics)


class Meteor:
    """The metric with its tables open; make one and use it for many sets."""

    def __init__(self, data: MeteorData) -> None:
        """Use tables that are open already; `Meteor.load()` opens them."""
        self._data = data

    @classmethod
    def load(cls) -> Meteor:
        """Open the tables; the first time builds a cache from the pycocoevalcap wheel.

        Raises:
            MissingExtraError: pycocoevalcap is not installed.
            MetricError: Its data files are missing or damaged.
            OutputError: The cache folder cannot be written.
        """
        return cls(load_data())

    def score(
        self, references: Sequence[Sequence[Sequence[str]]], predictions: Sequence[Sequence[str]]
    ) -> MeteorResult:
        """Score predictions against their references.

        Args:
            references: For each image its references, each a list of tokens of `tokenize`. Their
                order matters: where two score the same, the first one's statistics count.
            predictions: For each image one list of tokens.

        Returns:
            Values equal to those of pycocoevalcap.

        Raises:
            MetricError: Different numbers of images, or an image without references.
        """
        _check(references, predictions)
        blocks = [
            self._score_block(
                references[start : start + _BLOCK], predictions[start : start + _BLOCK]
            )
            for start in range(0, len(predictions), _BLOCK)
        ]
        statistics = np.concatenate(blocks) if blocks else np.zeros((0, NUM_STATISTICS))
        corpus = float(score_parts(_additive(statistics).sum(axis=0)))
        return MeteorResult(corpus, score_statistics(statistics), statistics)

    def _score_block(
        self, references: Sequence[Sequence[Sequence[str]]], predictions: Sequence[Sequence[str]]
    ) -> Floats:
        prefixes = self._data.prefixes
        ours = [normalize(_as_hypothesis(tokens), prefixes) for tokens in predictions]
        theirs = [normalize(" ".join(tokens), prefixes) for group in references for tokens in group]
        vocabulary: dict[str, int] = {}
        left, right = _number(ours, vocabulary), _number(theirs, vocabulary)
        words = Words(self._data, list(vocabulary))
        sizes = np.array([len(group) for group in references])
        owner = np.repeat(np.arange(len(sizes)), sizes)
        matches = find_matches(left, right, owner=owner, words=words, data=self._data)
        chosen = align(
            matches, prediction_lengths=left.lengths[owner], reference_lengths=right.lengths
        )
        statistics = _count(matches, chosen, left=left, right=right, owner=owner, words=words)
        return statistics[_pick_best(score_statistics(statistics), owner)]


def score_statistics(statistics: Floats) -> Floats:
    """Values of single captions from the jar's 23 numbers, (..., 23) -> (...)."""
    return score_parts(_additive(statistics))


def score_parts(parts: Floats) -> Floats:
    """METEOR from (sums of) additive parts, (..., 23) -> (...).

    A bootstrap resamples rows of `MeteorResult.parts`, adds them up and calls this.
    """
    counts = parts[..., 4:20].reshape(*parts.shape[:-1], 4, 4)
    weights = np.array(MATCHER_WEIGHTS)
    # Columns: prediction and reference content words, then prediction and reference function words.
    weighted = DELTA * counts[..., :2] + (1 - DELTA) * counts[..., 2:]
    matched = (weights[:, None] * weighted).sum(axis=-2)
    lengths = DELTA * (parts[..., 0:2] - parts[..., 2:4]) + (1 - DELTA) * parts[..., 2:4]
    with np.errstate(divide="ignore", invalid="ignore"):
        precision, recall = np.moveaxis(matched / lengths, -1, 0)
        mean = precision * recall / (ALPHA * precision + (1 - ALPHA) * recall)
        fragmentation = parts[..., 20] / ((parts[..., 21] + parts[..., 22]) / 2)
        value = mean * (1 - GAMMA * fragmentation**BETA)
    return np.where(matched.min(axis=-1) > 0, value, 0.0)


def _additive(statistics: Floats) -> Floats:
    """The numbers as they are summed: a caption matched whole, in one chunk, adds no chunk."""
    parts = statistics.copy()
    whole = (statistics[..., 21:23] == statistics[..., 0:2]).all(axis=-1)
    parts[..., 20] = np.where(whole & (statistics[..., 20] == 1), 0.0, statistics[..., 20])
    return parts


def _check(
    references: Sequence[Sequence[Sequence[str]]], predictions: Sequence[Sequence[str]]
) -> None:
    if len(references) != len(predictions):
        raise MetricError(
            f"{len(predictions)} predictions for the references of {len(references)} images",
            fix="give one prediction an image",
        )
    for place, group in enumerate(references):
        if not group:
            raise MetricError("an image has no references", where=f"image number {place}")


def _as_hypothesis(tokens: Sequence[str]) -> str:
    # What coco-caption does to predictions alone before it hands them to the jar.
    return " ".join(tokens).replace("|||", "").replace("  ", " ")


def _number(captions: Sequence[Sequence[str]], vocabulary: dict[str, int]) -> Captions:
    lengths = [len(caption) for caption in captions]
    numbers = [
        vocabulary.setdefault(word, len(vocabulary)) for caption in captions for word in caption
    ]
    return Captions(np.array(numbers, dtype=np.int64), np.cumsum([0, *lengths]))


def _count(
    matches: Matches, chosen: Ints, *, left: Captions, right: Captions, owner: Ints, words: Words
) -> Floats:
    """The jar's 23 numbers for every pair."""
    table = np.zeros((len(owner), NUM_STATISTICS))
    for side, captions in enumerate((left, right)):
        pairs = owner if side == 0 else np.arange(len(owner))
        function = np.r_[0, np.cumsum(words.function[captions.words])]
        table[:, side] = captions.lengths[pairs]
        table[:, 2 + side] = (function[captions.starts[1:]] - function[captions.starts[:-1]])[pairs]
    pair = matches.pair[chosen]
    first = (matches.prediction[chosen], matches.reference[chosen])
    length = (matches.prediction_length[chosen], matches.reference_length[chosen])
    for side, captions in enumerate((left, right)):
        start = captions.starts[owner[pair] if side == 0 else pair] + first[side]
        function = np.r_[0, np.cumsum(words.function[captions.words])]
        light = function[start + length[side]] - function[start]
        column = 4 + 4 * matches.matcher[chosen] + side
        np.add.at(table, (pair, column), length[side] - light)
        np.add.at(table, (pair, column + 2), light)
        np.add.at(table, (pair, 21 + side), length[side])
    joined = (pair[1:] == pair[:-1]) & (first[0][1:] == (first[0] + length[0])[:-1])
    joined &= first[1][1:] == (first[1] + length[1])[:-1]
    np.add.at(table, (pair, 20), np.r_[np.ones(min(1, len(pair))), ~joined])
    return table


def _pick_best(values: Floats, owner: Ints) -> Ints:
    """The first of each image's best references."""
    order = np.lexsort((-values, owner))
    return order[np.r_[True, owner[order][1:] != owner[order][:-1]]]
