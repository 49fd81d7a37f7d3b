"""Find the words that differ between two captions, and whether human captions contain them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

_EDGES = re.compile(r"^\W+|\W+$")


@dataclass(frozen=True, slots=True)
class MarkedWord:
    """A word of a caption.

    Attributes:
        text: The word as written, punctuation included.
        changed: Whether the other caption lacks it at this place.
        in_references: Whether a human caption contains it, ignoring case and punctuation.
    """

    text: str
    changed: bool
    in_references: bool


def mark_words(
    before: str, after: str, *, references: Sequence[str]
) -> tuple[tuple[MarkedWord, ...], tuple[MarkedWord, ...]]:
    """Mark the words that differ between two captions, ignoring case and punctuation.

    Args:
        before: One caption.
        after: The other.
        references: Human captions of the same image.

    Returns:
        The words of `before` and the words of `after`.
    """
    words = (before.split(), after.split())
    bare = ([_bare(word) for word in words[0]], [_bare(word) for word in words[1]])
    used = {_bare(word) for caption in references for word in caption.split()}
    kept: tuple[set[int], set[int]] = (set(), set())
    # autojunk drops frequent words from long texts, which would mark "a" as changed.
    matcher = difflib.SequenceMatcher(None, bare[0], bare[1], autojunk=False)
    for block in matcher.get_matching_blocks():
        kept[0].update(range(block.a, block.a + block.size))
        kept[1].update(range(block.b, block.b + block.size))
    marked = [
        tuple(
            MarkedWord(text, place not in kept[side], bare[side][place] in used)
            for place, text in enumerate(words[side])
        )
        for side in (0, 1)
    ]
    return marked[0], marked[1]


def _bare(word: str) -> str:
    # A word of only punctuation is kept, or all of them would be equal.
    return _EDGES.sub("", word).casefold() or word
