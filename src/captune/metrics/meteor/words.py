"""METEOR's data for single words: identity, stem, synsets, function word, paraphrase number.

Words and stems are compared by Java's 32-bit string hash, as in the jar, which takes `1n` and `30`
for the same word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from captune.metrics.meteor.captions import expand_ranges
from captune.metrics.meteor.data import MeteorData
from captune.metrics.meteor.stem import stem

Ints = npt.NDArray[np.int64]

# WordNet's rules of detachment: nouns, then verbs, then adjectives. The first base form that
# WordNet knows counts.
_ENDINGS = (
    *(("s", ""), ("men", "man"), ("ies", "y"), ("es", "")),
    *(("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")),
    *(("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
)
_ENDS = tuple(end for end, _ in _ENDINGS)


@dataclass(frozen=True, slots=True)
class Words:
    """METEOR's view of word numbers.

    Attributes:
        identity: int64 (V,): equal if METEOR treats two words as the same.
        stems: int64 (V,): equal if two words share a stem.
        function: bool (V,): whether the word is a function word, which weighs less.
        table_numbers: int64 (V,): number in the paraphrase table, -1 where it is absent.
        synset_starts: int64 (V + 1,): the synsets of word v are `synset_starts[v:v + 2]`.
        synset_ids: int64: synset numbers.
    """

    identity: Ints
    stems: Ints
    function: npt.NDArray[np.bool_]
    table_numbers: Ints
    synset_starts: Ints
    synset_ids: Ints

    @classmethod
    def look_up(cls, data: MeteorData, words: Sequence[str]) -> Words:
        """Return the data of distinct lower-case words; a word's number is its index."""
        starts, ids = _find_synsets(data, words)
        return cls(
            identity=np.array([java_hash(word) for word in words], dtype=np.int64),
            stems=np.array([java_hash(stem(word)) for word in words], dtype=np.int64),
            function=np.array([word in data.function_words for word in words], dtype=np.bool_),
            table_numbers=_find(data.table_words, words),
            synset_starts=starts,
            synset_ids=ids,
        )

    def take(self, numbers: Ints) -> Words:
        """Return some words, renumbered in the given order."""
        counts = np.diff(self.synset_starts)[numbers]
        return Words(
            identity=self.identity[numbers],
            stems=self.stems[numbers],
            function=self.function[numbers],
            table_numbers=self.table_numbers[numbers],
            synset_starts=np.r_[0, np.cumsum(counts)],
            synset_ids=self.synset_ids[expand_ranges(self.synset_starts[numbers], counts)],
        )


def java_hash(word: str) -> int:
    """Return Java's `String.hashCode` as an unsigned 32-bit number."""
    value = 0
    for unit in word.encode() if word.isascii() else _read_units(word):
        value = (31 * value + unit) & 0xFFFFFFFF
    return value


def _read_units(word: str) -> list[int]:
    """Return the UTF-16 code units of a word, which Java's hash uses."""
    units = word.encode("utf-16-le", "surrogatepass")
    return [low + (high << 8) for low, high in zip(units[::2], units[1::2], strict=True)]


def _find(table: npt.NDArray[np.bytes_], words: Sequence[str]) -> Ints:
    """Return each word's index in a sorted table, -1 if it is absent."""
    width = table.dtype.itemsize
    encoded = [word.encode("utf-8", "surrogatepass") for word in words]
    # Longer words would be truncated to the table's width, and a trailing NUL would vanish.
    usable = [word if len(word) <= width and b"\0" not in word else b"" for word in encoded]
    queries = np.array(usable, dtype=table.dtype)
    places = np.minimum(np.searchsorted(table, queries), len(table) - 1)
    found = (table[places] == queries) & (queries != b"")
    return np.where(found, places, -1)


def _find_synsets(data: MeteorData, words: Sequence[str]) -> tuple[Ints, Ints]:
    """Return the synsets of each word and its base forms, merged: starts and ids."""
    owners: list[int] = []
    candidates: list[str] = []
    ruled: list[tuple[int, list[str]]] = []
    for number, word in enumerate(words):
        irregular = data.bases.get(word, ())
        forms = [word, *irregular]
        owners += [number] * len(forms)
        candidates += forms
        if not irregular:
            ruled.append((number, _regular_bases(word)))
    first_known = _first_known(data, [forms for _, forms in ruled])
    for (number, _), base in zip(ruled, first_known, strict=True):
        if base is not None:
            owners.append(number)
            candidates.append(base)
    places = _find(data.synset_words, candidates)
    known = places >= 0
    starts = data.synset_starts[places[known]].astype(np.int64)
    counts = data.synset_starts[places[known] + 1].astype(np.int64) - starts
    owner = np.repeat(np.array(owners, dtype=np.int64)[known], counts)
    ids = np.asarray(data.synset_ids[expand_ranges(starts, counts)], dtype=np.int64)
    # Two base forms may share a synset. One number per pair sorts faster than two.
    pairs = np.unique(owner << 32 | ids)
    bounds = np.searchsorted(pairs >> 32, np.arange(len(words) + 1))
    return bounds.astype(np.int64), pairs & 0xFFFFFFFF


def _regular_bases(word: str) -> list[str]:
    if not word.endswith(_ENDS) or len(word) <= 2 or word.endswith("ss"):
        return []
    return [word[: len(word) - len(end)] + base for end, base in _ENDINGS if word.endswith(end)]


def _first_known(data: MeteorData, forms: Sequence[Sequence[str]]) -> list[str | None]:
    flat = sorted({form for group in forms for form in group})
    known = dict(zip(flat, _find(data.synset_words, flat) >= 0, strict=True)) if flat else {}
    return [next((form for form in group if known[form]), None) for group in forms]
