"""All matches between predictions and references, found for many pairs at once.

Four matchers: same word, same stem, shared synset, paraphrase (up to seven words a side). The order
of the matches that start at one reference word decides ties in the alignment, so it is METEOR's:
matcher by matcher; paraphrases first by the reference's phrases, then by the prediction's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from captune.metrics.meteor_captions import Captions, expand_ranges
from captune.metrics.meteor_data import MeteorData
from captune.metrics.meteor_phrases import match_phrases
from captune.metrics.meteor_words import Words

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

EXACT, STEM, SYNONYM, PARAPHRASE = range(4)
# Word pairs compared at once: bounds the memory of one dense comparison.
_DENSE = 1 << 20


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


def find_matches(
    predictions: Captions, references: Captions, *, owner: Ints, words: Words, data: MeteorData
) -> Matches:
    """Every match of every pair.

    Args:
        predictions: One caption an image.
        references: One caption a pair, image by image.
        owner: int64 (pairs,), ascending: the prediction of each pair.
        words: METEOR's view of the word numbers.
        data: METEOR's tables.

    Returns:
        The matches; identical captions have exact ones only.
    """
    single = _match_words(predictions, references, owner=owner, words=words)
    phrases = match_phrases(predictions, references, owner=owner, words=words, data=data)
    paraphrase = np.full((1, phrases.shape[1]), PARAPHRASE, dtype=np.int64)
    table = np.concatenate([single, np.concatenate([phrases, paraphrase])], axis=1)
    same = _find_identical(predictions, references, owner=owner, words=words)
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
    """Single-word matches, (6, M): matcher by matcher, by pair, prediction and reference word."""
    heights, widths = predictions.lengths[owner], references.lengths
    # Pairs of like size are compared together, so that little padding is compared.
    order = np.lexsort((widths, heights))
    related = _relate_synonyms(words)
    found: list[list[Ints]] = [[], [], []]
    start = 0
    while start < len(order):
        stop = start + 1
        height, width = int(heights[order[start]]), int(widths[order[start]])
        while stop < len(order):
            height_next = max(height, int(heights[order[stop]]))
            width_next = max(width, int(widths[order[stop]]))
            if height_next > height + 1 or (stop + 1 - start) * height_next * width_next > _DENSE:
                break
            height, width, stop = height_next, width_next, stop + 1
        rows = order[start:stop]
        left = _pad(predictions, owner[rows], height)
        right = _pad(references, rows, width)
        for matcher, part in enumerate(_compare(left, right, words=words, related=related)):
            pair, prediction, reference = part
            found[matcher].append(np.stack([rows[pair], reference, prediction]))
        start = stop
    return np.concatenate([_label(parts, matcher) for matcher, parts in enumerate(found)], axis=1)


def _pad(captions: Captions, rows: Ints, width: int) -> Ints:
    columns = np.arange(width)
    places = captions.starts[rows][:, None] + columns
    inside = columns < captions.lengths[rows][:, None]
    padded = np.full(places.shape, -1, dtype=np.int64)
    padded[inside] = captions.words[places[inside]]
    return padded


def _compare(
    left: Ints, right: Ints, *, words: Words, related: Bools
) -> tuple[tuple[Ints, ...], ...]:
    """Where words are equal, share a stem, share a synset: (pair, prediction, reference) each."""
    identity = np.append(words.identity, -1)
    stems = np.append(words.stems, -1)
    rows, columns = identity[left][:, :, None], identity[right][:, None, :]
    present = (left >= 0)[:, :, None] & (right >= 0)[:, None, :]
    same = rows == columns
    other = present & ~same
    exact = np.nonzero(same & present)
    stem = np.nonzero((stems[left][:, :, None] == stems[right][:, None, :]) & other)
    synonym = np.nonzero(related[left[:, :, None], right[:, None, :]] & other)
    return exact, stem, synonym


def _relate_synonyms(words: Words) -> Bools:
    """Whether two words share a synset, (V, V)."""
    size = len(words.identity)
    related = np.zeros((size, size), dtype=np.bool_)
    owner = np.repeat(np.arange(size), np.diff(words.synset_starts))
    order = np.argsort(words.synset_ids, kind="stable")
    owner, ids = owner[order], words.synset_ids[order]
    starts = np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]]) if len(ids) else np.zeros(0, int)
    sizes = np.diff(np.append(starts, len(ids)))
    spans = np.repeat(sizes, sizes)
    left = np.repeat(owner, spans)
    right = owner[expand_ranges(np.repeat(starts, sizes), spans)]
    related[left, right] = True
    return related


def _label(parts: list[Ints], matcher: int) -> Ints:
    table = np.concatenate(parts, axis=1) if parts else np.zeros((3, 0), dtype=np.int64)
    ones = np.ones(table.shape[1], dtype=np.int64)
    return np.concatenate([table, [ones, ones, np.full_like(ones, matcher)]])
