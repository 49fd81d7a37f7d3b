"""Captions as one flat array of word ids, and the vocabulary of these ids.

The tokenizer writes this form, and the counting code reads it. Letters: C captions, W words in
total.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, count

import numpy as np
import numpy.typing as npt

from captune.metrics.collecting import without_collecting

Ints = npt.NDArray[np.int64]
Ranks = npt.NDArray[np.int32]


class Vocabulary(defaultdict[str, int]):
    """Word -> id, by first occurrence; looking up a new word adds it.

    Args:
        words: Words that already have ids, numbered from 0.
    """

    def __init__(self, words: Mapping[str, int] | None = None) -> None:
        known = words or {}
        super().__init__(count(len(known)).__next__, known)

    def __reduce__(self) -> tuple[type[Vocabulary], tuple[dict[str, int]]]:
        # A counter cannot be pickled; the words and their number can.
        return Vocabulary, (dict(self),)


@dataclass(frozen=True)
class PackedCaptions:
    """C captions as one flat array of word ids.

    Attributes:
        words: int32 (W,), word ids, caption after caption.
        lengths: int64 (C,), number of words in each caption.
    """

    words: Ranks
    lengths: Ints

    @cached_property
    def starts(self) -> Ints:
        """int64 (C,), where each caption begins in `words`."""
        return np.cumsum(self.lengths) - self.lengths


def pack_tokens(tokens: Sequence[Sequence[str]], vocabulary: Vocabulary) -> PackedCaptions:
    """Return tokenized captions as word ids, adding new words to `vocabulary`."""
    lengths = np.fromiter(map(len, tokens), np.int64, len(tokens))
    flat = map(vocabulary.__getitem__, chain.from_iterable(tokens))
    return PackedCaptions(np.fromiter(flat, np.int32, int(lengths.sum())), lengths)


def unpack_captions(captions: PackedCaptions, vocabulary: Vocabulary) -> list[list[str]]:
    """Return the words of each caption."""
    names = list(vocabulary)
    starts = captions.starts.tolist()
    with without_collecting():
        words = [names[word] for word in captions.words.tolist()]
        places = zip(starts, captions.lengths.tolist(), strict=True)
        return [words[start : start + length] for start, length in places]
