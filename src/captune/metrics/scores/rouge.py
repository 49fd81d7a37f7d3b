"""ROUGE-L as COCO counts it, equal to pycocoevalcap's.

The longest common subsequences of all pairs are found together, with one bit per candidate word
(Hyyrö 2004, "Bit-parallel LCS-length computation revisited"); numpy processes all pairs of one
width at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from captune.metrics.counting.candidates import Candidates
from captune.metrics.packed import Ints, PackedCaptions, Ranks
from captune.metrics.results import Floats, MetricColumn, mean_column

BETA = 1.2
"""Weight of recall relative to precision in F."""

WIDTHS = (8, 16, 32, 64)
"""Numbers of candidate words that fit into one machine integer, one bit per word."""

BLOCK_CELLS = 1 << 20
"""(Candidate word, reference word) cells compared at once; about the size of a core's cache."""


def score_rouge_l(candidates: Candidates) -> dict[str, MetricColumn]:
    """Return ROUGE-L, 0..1: F of the best precision and the best recall over references.

    Source: Lin 2004, ROUGE, section 3; beta and the separate maxima as in coco-caption.
    """
    own = _with_empty_word(candidates.tokens_packed)
    references = _with_empty_word(candidates.references.tokens_packed)
    pairs = (candidates.pair_candidates, candidates.pair_references)
    common = longest_common_subsequences(own, references, pairs=pairs)
    recalls = common / references.lengths[candidates.pair_references]
    most = np.maximum.reduceat(common, candidates.pair_starts)
    precision = most / own.lengths
    recall = np.maximum.reduceat(recalls, candidates.pair_starts)
    below = recall + BETA**2 * precision
    f_score: Floats = np.divide(
        (1 + BETA**2) * precision * recall, below, out=np.zeros_like(below), where=most > 0
    )
    return {"rouge_l": mean_column(f_score, variant="variant:coco|beta:1.2")}


def longest_common_subsequences(
    own: PackedCaptions, references: PackedCaptions, *, pairs: tuple[Ints, Ints]
) -> Ints:
    """Return the number of words in the longest common subsequence of each pair.

    Args:
        own: M candidates.
        references: C captions; both share their word ids.
        pairs: int64 (P,) candidate and int64 (P,) reference of each pair.

    Returns:
        int64 (P,).
    """
    common = np.zeros(len(pairs[0]), np.int64)
    lengths, other_lengths = own.lengths[pairs[0]], references.lengths[pairs[1]]
    shortest = 0
    for width in WIDTHS:
        chosen = np.flatnonzero((lengths > shortest) & (lengths <= width) & (other_lengths > 0))
        for block in _cut_blocks(chosen, other_lengths, width=width):
            common[block] = _common_of_block(
                _pad(own, pairs[0][block], width=width, fill=-1),
                _pad(references, pairs[1][block], width=None, fill=-2),
            )
        shortest = width
    for pair in np.flatnonzero(lengths > shortest):
        common[pair] = _common_of_long(
            _words_of(own, int(pairs[0][pair])), _words_of(references, int(pairs[1][pair]))
        )
    return common


def _with_empty_word(captions: PackedCaptions) -> PackedCaptions:
    """Return captions with one empty word in place of none, like "".split(" "); '' matches ''."""
    empty = np.flatnonzero(captions.lengths == 0)
    if not len(empty):
        return captions
    # -3 is neither a word id nor one of the fill values of `_pad`.
    words = np.insert(captions.words, captions.starts[empty], -3)
    return PackedCaptions(words, np.maximum(captions.lengths, 1))


def _cut_blocks(chosen: Ints, reference_lengths: Ints, *, width: int) -> Iterator[Ints]:
    """Yield blocks of pairs whose references have similar lengths, so that padding is small."""
    chosen = chosen[np.argsort(reference_lengths[chosen], kind="stable")]
    lengths = reference_lengths[chosen]
    start = 0
    while start < len(chosen):
        # The lengths ascend: a first guess from the start's length is reduced by the end's.
        stop = start + max(1, BLOCK_CELLS // (width * int(lengths[start])))
        longest = int(lengths[min(stop, len(chosen)) - 1])
        stop = start + max(1, BLOCK_CELLS // (width * longest))
        yield chosen[start:stop]
        start = stop


def _pad(captions: PackedCaptions, chosen: Ints, *, width: int | None, fill: int) -> Ranks:
    """Return int32 (words, pairs): words of chosen captions, filled to the longest or `width`."""
    lengths = captions.lengths[chosen]
    place = np.arange(int(lengths.max()) if width is None else width)[:, None]
    last = len(captions.words) - 1
    words = captions.words[np.minimum(captions.starts[chosen] + place, last)]
    return np.where(place < lengths, words, np.int32(fill))


def _common_of_block(own: Ranks, references: Ranks) -> Ints:
    """Return the common words of all pairs of a block, as zero bits of the recurrence.

    Args:
        own: int32 (width, pairs).
        references: int32 (words, pairs).
    """
    width, pairs = own.shape
    by_pair = np.ascontiguousarray(own.T)
    state = np.full(pairs, -1, f"<i{width // 8}").view(f"<u{width // 8}")
    for words in references:
        equal = np.packbits(words[:, None] == by_pair, axis=1, bitorder="little")
        matches = state & equal.view(state.dtype)[:, 0]
        state = (state + matches) | (state - matches)
    # Bits above a candidate's length never match and stay one.
    common: Ints = np.bitwise_count(~state).astype(np.int64)
    return common


def _words_of(captions: PackedCaptions, caption: int) -> list[int]:
    start = int(captions.starts[caption])
    return list(captions.words[start : start + int(captions.lengths[caption])].tolist())


def _common_of_long(own: list[int], reference: list[int]) -> int:
    """Return the same with a Python integer, for candidates of more than 64 words."""
    places: defaultdict[int, int] = defaultdict(int)
    for place, word in enumerate(own):
        places[word] |= 1 << place
    full = (1 << len(own)) - 1
    state = full
    for word in reference:
        matches = state & places.get(word, 0)
        state = ((state + matches) | (state - matches)) & full
    return len(own) - state.bit_count()
