"""BLEU-1 to BLEU-4 as COCO counts them, equal to pycocoevalcap's.

Clipped n-gram matches and the closest reference length are summed over images, then turned into
one value; per-image values use the same formula on one image's counts. Written from a description
of the behaviour, not from the reference's source, whose licence does not allow that.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from captune.metrics.counting.candidates import Candidates, NgramMatches
from captune.metrics.counting.ngrams import ORDERS, Counts
from captune.metrics.packed import Ints
from captune.metrics.results import Floats, MetricColumn, parts_column, sum_by

TINY = 1e-15
SMALL = 1e-9
"""Constants that keep the reference's fractions defined; they set the scores of short captions."""


def score_bleu(candidates: Candidates) -> dict[str, MetricColumn]:
    """Return BLEU-1 to BLEU-4, 0..1.

    Source: Papineni et al. 2002, BLEU, sections 2.1 to 2.3; constants as in coco-caption.
    """
    parts = count_bleu_parts(candidates)
    columns = {}
    for order in range(1, ORDERS + 1):
        value = partial(bleu_from_parts, order=order)
        columns[f"bleu_{order}"] = parts_column(parts, value, variant="variant:coco|reflen:closest")
    return columns


def count_bleu_parts(candidates: Candidates) -> Floats:
    """Return the counts that BLEU sums.

    Returns:
        float64 (M, 10): words, closest reference length, n-grams of 1 to 4 words, clipped matches
        of 1 to 4 words.
    """
    lengths = candidates.words.lengths
    parts = np.zeros((len(lengths), 2 + 2 * ORDERS))
    parts[:, 0] = lengths
    parts[:, 1] = closest_reference_lengths(candidates)
    for order in range(ORDERS):
        parts[:, 2 + order] = np.maximum(lengths - order, 0)
        table, matches = candidates.tables[order], candidates.matches[order]
        most = _largest_counts(candidates.references.tables[order].counts, matches)
        parts[:, 2 + ORDERS + order] = sum_by(
            table.captions[matches.entries],
            np.minimum(table.counts[matches.entries], most),
            size=len(lengths),
        )
    return parts


def _largest_counts(counts: Counts, matches: NgramMatches) -> Counts:
    """Return the largest count of each shared n-gram in one reference of the image, (H,)."""
    largest = counts[matches.starts]
    # Most n-grams are in one reference of their image, so few remain to compare.
    place, longer = 1, np.flatnonzero(matches.sizes > 1)
    while len(longer):
        largest[longer] = np.maximum(largest[longer], counts[matches.starts[longer] + place])
        place += 1
        longer = longer[matches.sizes[longer] > place]
    return largest


def closest_reference_lengths(candidates: Candidates) -> Ints:
    """Return the closest reference length, int64 (M,); if two are equally close, the shorter."""
    own = candidates.words.lengths[candidates.pair_candidates]
    other = candidates.references.words.lengths[candidates.pair_references]
    base = int(candidates.references.words.lengths.max(initial=0)) + 1
    distance_then_length = np.abs(other - own) * base + other
    return np.minimum.reduceat(distance_then_length, candidates.pair_starts) % base


def bleu_from_parts(parts: Floats, *, order: int) -> Floats:
    """Return BLEU of the counts of one image or of their sums.

    Args:
        parts: float64 (..., 10), rows of `count_bleu_parts` or their sums.
        order: N-grams of 1 to this many words.

    Returns:
        float64 (...,), 0..1.
    """
    words, reference_words = parts[..., 0], parts[..., 1]
    product = np.ones_like(words)
    for n in range(order):
        product = product * ((parts[..., 2 + ORDERS + n] + TINY) / (parts[..., 2 + n] + SMALL))
    ratio = (words + TINY) / (reference_words + SMALL)
    penalty = np.where(ratio < 1, np.exp(1 - 1 / np.minimum(ratio, 1)), 1.0)
    score: Floats = product ** (1.0 / order) * penalty
    return score
