"""Paraphrase matches: phrases of a prediction that the table turns into phrases of a reference.

Both directions count, and a rule that stands in the table both ways gives two matches. All the
phrases of all captions walk down the table's trie together; rules are then joined image by image.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from captune.metrics.meteor_build import MAX_PHRASE
from captune.metrics.meteor_captions import Captions, expand_ranges
from captune.metrics.meteor_data import MeteorData
from captune.metrics.meteor_words import Words

Ints = npt.NDArray[np.int64]


def match_phrases(
    predictions: Captions, references: Captions, *, owner: Ints, words: Words, data: MeteorData
) -> Ints:
    """Paraphrase matches in METEOR's order.

    Args:
        predictions: One caption an image.
        references: One caption a pair, image by image.
        owner: int64 (pairs,), ascending: the prediction of each pair.
        words: METEOR's view of the word numbers.
        data: METEOR's tables.

    Returns:
        int64 (5, M): pair, reference word, prediction word, reference and prediction length.
    """
    ours = _find_phrases(predictions, words=words, data=data)
    theirs = _find_phrases(references, words=words, data=data)
    mine = _Phrases(*ours, image=ours.caption)
    others = _Phrases(*theirs, image=owner[theirs.caption])
    images = len(predictions.lengths)
    right, left = _join(others, mine, images=images, data=data)
    backward = _lay_out(others, mine, right=right, left=left)
    left, right = _join(mine, others, images=images, data=data)
    forward = _lay_out(others, mine, right=right, left=left)
    return np.concatenate([backward, forward], axis=1)


class _Found(NamedTuple):
    """Phrases of the table that occur in captions, by caption, first word and length."""

    caption: Ints
    place: Ints
    length: Ints
    node: Ints


class _Phrases(NamedTuple):
    caption: Ints
    place: Ints
    length: Ints
    node: Ints
    image: Ints


def _find_phrases(captions: Captions, *, words: Words, data: MeteorData) -> _Found:
    numbers = words.table_numbers[captions.words]
    caption = np.repeat(np.arange(len(captions.lengths)), captions.lengths)
    ends = captions.starts[1:][caption]
    first = np.flatnonzero(numbers >= 0)
    node = np.zeros(len(first), dtype=np.int64)
    parts = []
    for length in range(1, MAX_PHRASE + 1):
        node = _step(data, node, numbers[first + length - 1])
        inside = node > 0
        first, node = first[inside], node[inside]
        useful = data.is_target[node] | (data.rule_starts[node + 1] > data.rule_starts[node])
        parts.append(np.stack([first, np.full_like(first, length), node])[:, useful])
        longer = first + length < ends[first]
        first, node = first[longer], node[longer]
        longer = numbers[first + length] >= 0
        first, node = first[longer], node[longer]
    table = np.concatenate(parts, axis=1)
    table = table[:, np.argsort(table[0] * (MAX_PHRASE + 1) + table[1])]
    owner = caption[table[0]]
    return _Found(owner, table[0] - captions.starts[owner], table[1], table[2])


def _step(data: MeteorData, node: Ints, word: Ints) -> Ints:
    """The nodes that words lead to, 0 where the table has no such phrase."""
    keys, inverse = np.unique(node * len(data.table_words) + word, return_inverse=True)
    places = np.minimum(np.searchsorted(data.trie_keys, keys), len(data.trie_keys) - 1)
    found = np.where(data.trie_keys[places] == keys, places + 1, 0)
    return np.asarray(found[inverse], dtype=np.int64)


def _join(
    sources: _Phrases, targets: _Phrases, *, images: int, data: MeteorData
) -> tuple[Ints, Ints]:
    """Pairs (source, target) of phrases in one image that a rule relates, in rule order."""
    kinds, kind = np.unique(targets.node, return_inverse=True)
    origins, origin = np.unique(sources.node, return_inverse=True)
    goal, starts, counts = _list_goals(origins, kinds, data)
    occurring = np.zeros((images, len(kinds)), dtype=np.bool_)
    occurring[targets.image, kind] = True
    # Every source phrase with each of its goals that occurs somewhere, then in its own image.
    repeats = counts[origin]
    source = np.repeat(np.arange(len(origin)), repeats)
    wanted = goal[expand_ranges(starts[origin], repeats)]
    here = occurring[sources.image[source], wanted]
    source, wanted = source[here], wanted[here]
    keys = targets.image * len(kinds) + kind
    order = np.argsort(keys, kind="stable")
    queries = sources.image[source] * len(kinds) + wanted
    low = np.searchsorted(keys[order], queries)
    repeats = np.searchsorted(keys[order], queries, side="right") - low
    return np.repeat(source, repeats), order[expand_ranges(low, repeats)]


def _list_goals(origins: Ints, kinds: Ints, data: MeteorData) -> tuple[Ints, Ints, Ints]:
    """For each origin node the targets of its rules that are among `kinds`, in table order."""
    number = np.full(len(data.is_target), -1, dtype=np.int64)
    number[kinds] = np.arange(len(kinds))
    starts = data.rule_starts[origins].astype(np.int64)
    counts = data.rule_starts[origins + 1].astype(np.int64) - starts
    goal = number[data.rule_targets[expand_ranges(starts, counts)]]
    owner = np.repeat(np.arange(len(origins)), counts)[goal >= 0]
    counts = np.bincount(owner, minlength=len(origins))
    return goal[goal >= 0], np.cumsum(counts) - counts, counts


def _lay_out(theirs: _Phrases, ours: _Phrases, *, right: Ints, left: Ints) -> Ints:
    return np.stack(
        [
            theirs.caption[right],
            theirs.place[right],
            ours.place[left],
            theirs.length[right],
            ours.length[left],
        ]
    )
