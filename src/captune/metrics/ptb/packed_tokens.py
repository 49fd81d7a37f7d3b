"""Tokenize captions directly into word ids, without one Python object per word.

Large blocks of captions are cut at spaces. Each different chunk is read once, in the same way as
`tokenize`; numpy finds the chunks' numbers and replaces the chunks by their ids. Letters: C
captions, K chunks of all captions, D different chunks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from captune.metrics.packed import Ints, PackedCaptions, Ranks, Vocabulary
from captune.metrics.ptb.chunk_slots import ChunkSlots
from captune.metrics.ptb.tokenize import (
    clean_captions,
    open_memo,
    read_before_letter,
    read_in_context,
)

BLOCK_CAPTIONS = 1 << 10
"""Captions cut at once: few enough that their chunks stay in the processor's cache."""

BLOCK_CHUNKS = 1 << 14
"""Chunks replaced by their words at once."""

_END = "\n"  # Separates captions; cleaned captions contain none.


class _Chunks(dict[str, int]):
    """Chunk -> number, by first occurrence; its tokens are read when it is first looked up.

    Attributes:
        tokens: Tokens of each number; `None` if they depend on neighbouring chunks.
        before_letters: Numbers whose tokens are valid only before a letter or at the end of a
            caption.
    """

    def __init__(self) -> None:
        super().__init__({_END: 0, "": 1})
        self.tokens: list[list[str] | None] = [[], []]
        self.before_letters: list[int] = []
        self._memo = open_memo()

    def __missing__(self, chunk: str) -> int:
        self[chunk] = number = len(self.tokens)
        tokens = self._memo[chunk]
        if tokens is None:
            tokens = read_before_letter(chunk)
            self.before_letters += [number] * (tokens is not None)
        self.tokens.append(tokens)
        return number


def tokenize_packed(captions: Sequence[str], vocabulary: Vocabulary) -> PackedCaptions:
    """Return the tokens of `tokenize` as word ids; new words are added in order of occurrence.

    Args:
        captions: C captions, one batch.
        vocabulary: New words are added.
    """
    cleaned = clean_captions(captions)
    chunks = _Chunks()
    numbers = _number_chunks(cleaned, chunks)
    ends = np.flatnonzero(numbers == 0)
    _read_open_captions(cleaned, chunks, numbers=numbers, ends=ends)
    starts, sizes, flat = _look_up(chunks, numbers, vocabulary)
    del chunks
    words, stops, total = [np.zeros(0, np.int32)], [np.zeros(1, np.int64)], 0
    # In blocks, because the indices of all words need more memory than the words.
    for first in range(0, len(numbers), BLOCK_CHUNKS):
        block = numbers[first : first + BLOCK_CHUNKS]
        sizes_at = sizes[block]
        stops_at = np.cumsum(sizes_at, dtype=np.int64)
        places = np.repeat(starts[block] - (stops_at - sizes_at), sizes_at)
        places += np.arange(len(places))
        words.append(flat[places])
        stops.append(total + stops_at[block == 0])
        total += len(places)
    all_stops = np.concatenate(stops)
    return PackedCaptions(np.concatenate(words), all_stops[1:] - all_stops[:-1])


def _number_chunks(captions: Sequence[str], chunks: _Chunks) -> Ranks:
    """Return the number of each chunk: int32 (K,), 0 after each caption."""
    slots = ChunkSlots(chunks.__getitem__)
    blocks = [np.zeros(0, np.int32)]
    for start in range(0, len(captions), BLOCK_CAPTIONS):
        block = captions[start : start + BLOCK_CAPTIONS]
        blocks.append(slots.number(f" {_END} ".join([*block, ""])))
    return np.concatenate(blocks)


def _read_open_captions(
    captions: Sequence[str], chunks: _Chunks, *, numbers: Ranks, ends: Ints
) -> None:
    """Replace each caption whose chunks depend on their neighbours by one chunk of its own.

    The last caption is replaced too, because the end of the batch has its own rules.
    """
    is_open = np.fromiter((tokens is None for tokens in chunks.tokens), np.bool_)
    opened = is_open[numbers]
    if chunks.before_letters:
        # The end of a caption is chunk 0, which lets them be read as well.
        lets = np.fromiter((chunk[:1].isalpha() and chunk[:1].isascii() for chunk in chunks), bool)
        lets[0] = True
        is_choosy = np.zeros(len(lets), np.bool_)
        is_choosy[chunks.before_letters] = True
        # The last chunk of all is an end, so each of these has a next one.
        choosy = np.flatnonzero(is_choosy[numbers])
        opened[choosy[~lets[numbers[choosy + 1]]]] = True
    places = np.searchsorted(ends, np.flatnonzero(opened)).tolist()
    for place in dict.fromkeys([*places, len(captions) - 1] if captions else []):
        start = int(ends[place - 1]) + 1 if place else 0
        numbers[start : ends[place]] = 1
        numbers[start] = len(chunks.tokens)
        chunks.tokens.append(read_in_context(captions, place))


def _look_up(chunks: _Chunks, numbers: Ranks, vocabulary: Vocabulary) -> tuple[Ints, Ints, Ranks]:
    """Look up each chunk's word ids: int64 (D,) starts and sizes in the int32 ids of all chunks."""
    first = np.full(len(chunks.tokens), len(numbers), np.int32)
    # Of equal chunks, the last assignment stays, which is here the first occurrence.
    first[numbers[::-1]] = np.arange(len(numbers), dtype=np.int32)[::-1]
    order = np.argsort(first, kind="stable")
    flat: list[int] = []
    starts = np.zeros(len(chunks.tokens), np.int64)
    stops = np.zeros(len(chunks.tokens), np.int64)
    for number in order[: np.count_nonzero(first < len(numbers))].tolist():
        starts[number] = len(flat)
        flat.extend(map(vocabulary.__getitem__, chunks.tokens[number] or ()))
        stops[number] = len(flat)
    return starts, stops - starts, np.array(flat, np.int32)
