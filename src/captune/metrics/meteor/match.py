"""All matches between predictions and references, found for many pairs at once.

There are four matchers: same word, same stem, shared synset, and paraphrase (up to seven words per
side). The order of the matches that start at one reference word decides ties in the alignment, so
it is METEOR's: by matcher; paraphrases first by the reference's phrases, then by the prediction's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from captune.metrics.meteor.captions import Captions, expand_ranges
from captune.metrics.meteor.phrases import Phrases, Rules, match_phrases
from captune.metrics.meteor.words import Words

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

EXACT, STEM, SYNONYM, PARAPHRASE = range(4)
_SAME, _SAME_STEM, _SHARED_SYNSET = 1, 2, 4
MAX_CELLS = 1 << 19
"""Maximum number of word pairs compared at once, which bounds the memory."""


@dataclass(frozen=True, slots=True)
class Matches:
    """Matches sorted by pair and by first reference word, then in METEOR's order.

    Attributes:
        pair: int64 (M,): number of the prediction-reference pair.
        reference: int64 (M,): first matched word of the reference.
        prediction: int64 (M,): first matched word of the prediction.
        reference_length: int64 (M,): matched words of the reference.
        prediction_length: int64 (M,): matched words of the prediction.
        matcher: int64 (M,): EXACT, STEM, SYNONYM or PARAPHRASE.
    """

    pair: Ints
    reference: Ints
    prediction: Ints
    reference_length: Ints
    prediction_length: Ints
    matcher: Ints


@dataclass(frozen=True, slots=True)
class Block:
    """Some images with their references, and METEOR's data for their words and phrases.

    Attributes:
        predictions: One caption per image.
        references: One caption per pair, image by image.
        owner: int64 (pairs,), ascending: the prediction of each pair.
        words: METEOR's view of the word numbers.
        phrases: The phrases of the predictions, and those of the references.
        rules: Rules for the phrases that may replace each other.
    """

    predictions: Captions
    references: Captions
    owner: Ints
    words: Words
    phrases: tuple[Phrases, Phrases]
    rules: Rules


def find_matches(block: Block) -> Matches:
    """Return every match of every pair; identical captions have only exact matches."""
    predictions, references, owner = block.predictions, block.references, block.owner
    single = _match_words(predictions, references, owner=owner, words=block.words)
    phrases = match_phrases(*block.phrases, owner=owner, rules=block.rules)
    paraphrase = np.full((1, phrases.shape[1]), PARAPHRASE, dtype=np.int64)
    table = np.concatenate([single, np.concatenate([phrases, paraphrase])], axis=1)
    same = _find_identical(predictions, references, owner=owner, words=block.words)
    table = table[:, (table[5] == EXACT) | ~same[table[0]]]
    width = int(references.lengths.max(initial=0)) + 1
    return Matches(*table[:, np.argsort(table[0] * width + table[1], kind="stable")])


def _find_identical(
    predictions: Captions, references: Captions, *, owner: Ints, words: Words
) -> Bools:
    lengths = references.lengths
    same: Bools = predictions.lengths[owner] == lengths
    rows = np.flatnonzero(same)
    left = words.identity[
        predictions.words[expand_ranges(predictions.starts[owner[rows]], lengths[rows])]
    ]
    right = words.identity[references.words[expand_ranges(references.starts[rows], lengths[rows])]]
    differing = np.repeat(rows, lengths[rows])[left != right]
    same[differing] = False
    return same


def _match_words(predictions: Captions, references: Captions, *, owner: Ints, words: Words) -> Ints:
    """Return single-word matches, int64 (6, M), by matcher, pair, reference and prediction word."""
    related = _relate(words)
    pair = np.repeat(np.arange(len(owner)), references.lengths)
    # Each reference word is compared with all words of its prediction.
    first = predictions.starts[owner[pair]]
    met = predictions.lengths[owner[pair]]
    found = [np.zeros((4, 0), dtype=np.int64)]
    for part in _cut(met, cells=MAX_CELLS):
        here = np.repeat(np.arange(part.start, part.stop), met[part])
        there = expand_ranges(first[part], met[part])
        cells = references.words[here] * len(words.identity)
        cells += predictions.words[there]
        kinds = related.take(cells)
        hits = np.flatnonzero(kinds)
        here, there = here[hits], there[hits]
        reference = here - references.starts[pair[here]]
        found.append(np.stack([pair[here], reference, there - first[here], kinds[hits]]))
    table = np.concatenate(found, axis=1)
    return np.concatenate(
        [
            _label(table[:3, table[3] & bit > 0], matcher)
            for matcher, bit in ((EXACT, _SAME), (STEM, _SAME_STEM), (SYNONYM, _SHARED_SYNSET))
        ],
        axis=1,
    )


def _cut(sizes: Ints, *, cells: int) -> Iterator[slice]:
    """Yield slices of sizes whose sums are about `cells`; a larger size has its own slice."""
    ends = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + cells)))
        yield slice(start, stop)
        start = stop


def _relate(words: Words) -> npt.NDArray[np.uint8]:
    """Return the relations of all words, (V, V), a bit per matcher; equal words have no others."""
    size = len(words.identity)
    numbers = np.arange(size)
    related = np.zeros((size, size), dtype=np.uint8)
    with_synsets = np.repeat(numbers, np.diff(words.synset_starts))
    related[_pair_up(with_synsets, words.synset_ids)] = _SHARED_SYNSET
    related[_pair_up(numbers, words.stems)] |= _SAME_STEM
    related[_pair_up(numbers, words.identity)] = _SAME
    return related


def _pair_up(owners: Ints, keys: Ints) -> tuple[Ints, Ints]:
    """Return all pairs of owners that share a key."""
    order = np.argsort(keys, kind="stable")
    owners, keys = owners[order], keys[order]
    starts = np.flatnonzero(np.r_[np.ones(min(1, len(keys)), np.bool_), keys[1:] != keys[:-1]])
    sizes = np.diff(np.append(starts, len(keys)))
    spans = np.repeat(sizes, sizes)
    return np.repeat(owners, spans), owners[expand_ranges(np.repeat(starts, sizes), spans)]


def _label(places: Ints, matcher: int) -> Ints:
    ones = np.ones(places.shape[1], dtype=np.int64)
    return np.concatenate([places, [ones, ones, np.full_like(ones, matcher)]])
