"""Captions as word ids and n-gram counts, computed on first use."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from captune.metrics.counting.ngrams import NgramTable, count_ngrams
from captune.metrics.counting.tokenizers import pack_with
from captune.metrics.packed import PackedCaptions, Ranks, Vocabulary, unpack_captions
from captune.records import TokenizerName

Packed = tuple[PackedCaptions, PackedCaptions, Vocabulary]
"""Captions split at U+0020 only, the same captions split at all white space, and their words."""


class PackedTexts(ABC):
    """Base class of human captions and captions to score."""

    @abstractmethod
    def _pack(self) -> Packed: ...

    @cached_property
    def _packed(self) -> Packed:
        return self._pack()

    @cached_property
    def tokens(self) -> list[list[str]]:
        """The words of each caption, as PTBTokenizer gives them, without punctuation."""
        return unpack_captions(self.tokens_packed, self.vocabulary)

    @property
    def tokens_packed(self) -> PackedCaptions:
        """The captions split at U+0020 only, as ROUGE-L splits them."""
        return self._packed[0]

    @property
    def words(self) -> PackedCaptions:
        """The captions split at all white space, U+00A0 too, as BLEU and CIDEr split them."""
        return self._packed[1]

    @property
    def vocabulary(self) -> Vocabulary:
        """Word -> id; must not be changed."""
        return self._packed[2]

    @cached_property
    def tables(self) -> tuple[NgramTable, ...]:
        """The n-grams of 1 to 4 words of all captions."""
        return count_ngrams(self.words, num_words=max(1, len(self.vocabulary)))


def pack_both(
    captions: Sequence[str], vocabulary: Vocabulary, *, tokenizer: TokenizerName
) -> tuple[PackedCaptions, PackedCaptions]:
    """Split captions at U+0020 and at all white space; nearly always the same object twice."""
    by_token = pack_with(captions, vocabulary, tokenizer=tokenizer)
    return by_token, cut_at_blanks(by_token, vocabulary)


def cut_at_blanks(by_token: PackedCaptions, vocabulary: Vocabulary) -> PackedCaptions:
    """Return the same captions, with tokens that contain a space split into words."""
    # A token such as "1 1/2" contains a U+00A0, at which str.split() splits but split(" ") does
    # not. All white space except U+0020, which no token contains, counts as not printable.
    odd = [word for word in vocabulary if not word.isprintable()]
    parts = {vocabulary[word]: word.split() for word in odd if word.split() != [word]}
    if not parts:
        return by_token
    has_parts = np.zeros(len(vocabulary), np.bool_)
    has_parts[list(parts)] = True
    words, lengths = by_token.words, by_token.lengths.copy()
    places = np.flatnonzero(has_parts[words])
    captions = np.searchsorted(np.cumsum(lengths), places, side="right")
    pieces: list[Ranks] = []
    done = 0
    for place, caption in zip(places.tolist(), captions.tolist(), strict=True):
        own = [vocabulary[part] for part in parts[int(words[place])]]
        pieces += [words[done:place], np.array(own, np.int32)]
        lengths[caption] += len(own) - 1
        done = place + 1
    return PackedCaptions(np.concatenate([*pieces, words[done:]]), lengths)
