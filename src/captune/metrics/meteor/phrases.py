"""Paraphrase matches: phrases of a prediction that the table maps to phrases of a reference.

Both directions count, and a rule that the table has in both directions gives two matches. All
phrases of all captions are looked up in the table's trie together; rules are then joined per image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from captune.metrics.meteor.build import MAX_PHRASE
from captune.metrics.meteor.captions import Captions, expand_ranges
from captune.metrics.meteor.data import MeteorData

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Phrases:
    """Phrases of the table that occur in captions, by caption, first word and length.

    Attributes:
        caption: int64 (P,): the phrase's caption.
        place: int64 (P,): its first word.
        length: int64 (P,): its number of words.
        kind: int64 (P,): number of the phrase, equal for equal phrases.
    """

    caption: Ints
    place: Ints
    length: Ints
    kind: Ints

    def slice(self, first: int, last: int) -> Phrases:
        """Return the phrases of captions `first` to `last - 1`, renumbered from 0."""
        start, stop = np.searchsorted(self.caption, [first, last])
        return Phrases(
            self.caption[start:stop] - first,
            self.place[start:stop],
            self.length[start:stop],
            self.kind[start:stop],
        )


@dataclass(frozen=True, slots=True)
class Rules:
    """The table's rules for the phrases that occur.

    Attributes:
        starts: int64 (K + 1,): phrase k may become `targets[starts[k]:starts[k + 1]]`.
        targets: int64: numbers of phrases, in the table's order.
    """

    starts: Ints
    targets: Ints

    @property
    def num_phrases(self) -> int:
        """K, the number of different phrases that occur."""
        return len(self.starts) - 1


def find_phrases(
    captions: Captions, *, table_numbers: Ints, data: MeteorData
) -> tuple[Phrases, Rules]:
    """Return the table's phrases in captions, and the rules among them.

    Args:
        captions: All captions, predictions and references.
        table_numbers: int64 (V,): the table's number of each word, -1 where it is absent.
        data: METEOR's tables.
    """
    numbers = table_numbers[captions.words]
    caption = np.repeat(np.arange(len(captions.lengths)), captions.lengths)
    ends = captions.starts[1:][caption]
    first = np.flatnonzero(numbers >= 0)
    node = np.zeros(len(first), dtype=np.int64)
    parts = []
    for length in range(1, MAX_PHRASE + 1):
        node, useful = _step(data, node, numbers[first + (length - 1)])
        inside = node > 0
        parts.append(np.stack([first, np.full_like(first, length), node])[:, useful])
        inside &= first + length < ends[first]
        first, node = first[inside], node[inside]
        inside = numbers[first + length] >= 0
        first, node = first[inside], node[inside]
    table = np.concatenate(parts, axis=1)
    # Each part is sorted already, so this merges them.
    table = table[:, np.argsort(table[0] * (MAX_PHRASE + 1) + table[1], kind="stable")]
    nodes, kind = _number(table[2])
    owner = caption[table[0]]
    phrases = Phrases(owner, table[0] - captions.starts[owner], table[1], kind)
    return phrases, _list_rules(nodes, data)


def _step(data: MeteorData, node: Ints, word: Ints) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """Return the nodes that words lead to (0: no such phrase), and which nodes have rules."""
    keys, number = _number(node * len(data.table_words) + word)
    places = np.minimum(np.searchsorted(data.trie_keys, keys), len(data.trie_keys) - 1)
    found = np.where(data.trie_keys[places] == keys, places + 1, 0)
    useful = data.is_target[found] | (data.rule_starts[found + 1] > data.rule_starts[found])
    return found[number], (useful & (found > 0))[number]


def _number(values: Ints) -> tuple[Ints, Ints]:
    """Return the distinct values in ascending order, and each value's place among them."""
    different, places = np.unique(values, return_inverse=True)
    return different, places


def _list_rules(nodes: Ints, data: MeteorData) -> Rules:
    """Return the rules between nodes, which are sorted."""
    starts = data.rule_starts[nodes].astype(np.int64)
    counts = data.rule_starts[nodes + 1].astype(np.int64) - starts
    targets = data.rule_targets[expand_ranges(starts, counts)]
    owner = np.repeat(np.arange(len(nodes)), counts)
    number = np.minimum(np.searchsorted(nodes, targets), len(nodes) - 1)
    occurs = nodes[number] == targets
    counts = np.bincount(owner[occurs], minlength=len(nodes))
    return Rules(np.append(0, np.cumsum(counts)), number[occurs])


def match_phrases(predictions: Phrases, references: Phrases, *, owner: Ints, rules: Rules) -> Ints:
    """Return paraphrase matches in METEOR's order.

    Args:
        predictions: Phrases of one caption per image.
        references: Phrases of one caption per pair, image by image.
        owner: int64 (pairs,), ascending: the prediction of each pair.
        rules: The rules between them.

    Returns:
        int64 (5, M): pair, reference word, prediction word, reference and prediction length.
    """
    by_image = replace(references, caption=owner[references.caption])
    right, left = _join(by_image, predictions, rules)
    backward = _lay_out(references, predictions, right=right, left=left)
    left, right = _join(predictions, by_image, rules)
    forward = _lay_out(references, predictions, right=right, left=left)
    return np.concatenate([backward, forward], axis=1)


def _join(sources: Phrases, targets: Phrases, rules: Rules) -> tuple[Ints, Ints]:
    """Return pairs (source, target) of phrases related by a rule, in rule order.

    The phrases' `caption` is the image here.
    """
    present = np.zeros(rules.num_phrases, dtype=np.bool_)
    present[targets.kind] = True
    column = np.cumsum(present) - 1
    width = int(present.sum())
    starts = rules.starts[sources.kind]
    counts = rules.starts[sources.kind + 1] - starts
    source = np.repeat(np.arange(len(counts)), counts)
    wanted = rules.targets[expand_ranges(starts, counts)]
    here = np.flatnonzero(present[wanted])
    source = source[here]
    queries = sources.caption[source] * width + column[wanted[here]]
    keys = targets.caption * width + column[targets.kind]
    # Most targets of a rule occur only in other images; a table look-up is faster than a search.
    occurs = np.zeros(int(max(keys.max(initial=-1), queries.max(initial=-1))) + 1, dtype=np.bool_)
    occurs[keys] = True
    here = np.flatnonzero(occurs[queries])
    source, queries = source[here], queries[here]
    order = np.argsort(keys, kind="stable")
    low = np.searchsorted(keys[order], queries)
    counts = np.searchsorted(keys[order], queries, side="right") - low
    return np.repeat(source, counts), order[expand_ranges(low, counts)]


def _lay_out(theirs: Phrases, ours: Phrases, *, right: Ints, left: Ints) -> Ints:
    return np.stack(
        [
            theirs.caption[right],
            theirs.place[right],
            ours.place[left],
            theirs.length[right],
            ours.length[left],
        ]
    )
