"""N-gram tables against plain Python counting."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from captune.metrics.counting.ngrams import (
    ORDERS,
    NgramTable,
    count_ngrams,
    find_sorted,
    map_words,
    sort_with_positions,
    translate_ranks,
)
from captune.metrics.packed import Vocabulary, pack_tokens

captions_strategy = st.lists(st.lists(st.sampled_from("abcd"), max_size=9), max_size=8)


def plain_counts(captions: list[list[str]], order: int) -> dict[tuple[str, ...], dict[int, int]]:
    counted: dict[tuple[str, ...], dict[int, int]] = {}
    for place, caption in enumerate(captions):
        grams = [tuple(caption[i : i + order]) for i in range(len(caption) - order + 1)]
        for gram, count in Counter(grams).items():
            counted.setdefault(gram, {})[place] = count
    return counted


def spell(tables: tuple[NgramTable, ...], order: int, words: list[str]) -> list[tuple[str, ...]]:
    keys = tables[order].ngrams.keys.tolist()
    base = tables[order].ngrams.base
    if order == 0:
        return [(words[key],) for key in keys]
    shorter = spell(tables, order - 1, words)
    return [(*shorter[key // base], words[key % base]) for key in keys]


@settings(max_examples=60, deadline=None)
@given(captions_strategy)
def test_tables_equal_plain_counting(captions: list[list[str]]) -> None:
    vocabulary = Vocabulary()
    packed = pack_tokens(captions, vocabulary)
    tables = count_ngrams(packed, num_words=max(1, len(vocabulary)))
    words = list(vocabulary)
    for order in range(ORDERS):
        table = tables[order]
        grams = spell(tables, order, words)
        found = {
            gram: dict(
                zip(
                    table.captions[start:stop].tolist(),
                    table.counts[start:stop].tolist(),
                    strict=True,
                )
            )
            for gram, start, stop in zip(
                grams, table.offsets[:-1].tolist(), table.offsets[1:].tolist(), strict=True
            )
        }
        assert found == plain_counts(captions, order + 1)


@settings(max_examples=60, deadline=None)
@given(captions_strategy, captions_strategy)
def test_translated_ranks_point_at_the_same_words(
    source: list[list[str]], target: list[list[str]]
) -> None:
    own, other = Vocabulary(), Vocabulary({"d": 0})
    source_packed, target_packed = pack_tokens(source, own), pack_tokens(target, other)
    source_tables = count_ngrams(source_packed, num_words=max(1, len(own)))
    target_tables = count_ngrams(target_packed, num_words=len(other))
    ranks = translate_ranks(
        [table.ngrams for table in source_tables],
        [table.ngrams for table in target_tables],
        words=map_words(own, other),
    )
    for order in range(ORDERS):
        grams = spell(source_tables, order, list(own))
        known = spell(target_tables, order, list(other))
        expected = [known.index(gram) if gram in known else -1 for gram in grams]
        assert ranks[order].tolist() == expected


def test_keys_too_large_to_pack_are_sorted_in_the_same_order() -> None:
    generator = np.random.default_rng(0)
    small = generator.integers(0, 40, 500)
    positions = np.arange(500)
    packed = sort_with_positions(small.copy(), positions, limit=500)
    # The same order of keys, but too large to share 63 bits with a position.
    large = sort_with_positions(small << 56, positions, limit=500)
    assert (large[0] >> 56).tolist() == packed[0].tolist()
    assert large[1].tolist() == packed[1].tolist()


def test_missing_values_are_unknown() -> None:
    values = np.array([2, 5, 9])
    assert find_sorted(values, np.array([5, 4, 10, 2])).tolist() == [1, -1, -1, 0]
    assert find_sorted(values[:0], np.array([5])).tolist() == [-1]
    assert find_sorted(values, np.array([5, 9]), where=np.array([False, True])).tolist() == [-1, 2]
