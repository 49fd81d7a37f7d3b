"""The tokenizer of the COCO caption metrics: Stanford's PTBTokenizer 3.4.1, without Java.

The result equals that of `PTBTokenizer -preserveLines -lowerCase` followed by pycocoevalcap's
punctuation list, on one batch of captions. There is one deliberate deviation: a line-break
character inside a caption counts as a space; the original takes it for the end of a caption and
shifts every later caption by one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import chain

from captune.metrics.collecting import without_collecting
from captune.metrics.ptb import words as ptb_words
from captune.metrics.ptb.lexer import lex

PUNCTUATION = frozenset(
    [
        "''",
        "'",
        "``",
        "`",
        "-LRB-",
        "-RRB-",
        "-LCB-",
        "-RCB-",
        ".",
        "?",
        "!",
        ",",
        ":",
        "-",
        "--",
        "...",
        ";",
    ]
)
_LINE_BREAKS = str.maketrans(dict.fromkeys("\n\r\x0b\x0c\u2028\u2029", " "))
# Chunks whose tokens may depend on the next chunk: numbers (1 1/2, telephone), unusual spaces.
_OPEN_ENDED = re.compile("[0-9]\\)?$|[\t\u00a0\u2000-\u200a\u3000]")
_NUMBER_END = re.compile("[0-9]\\)?$")
_REACHES_FAR = re.compile("^\\.|[<\t\u00a0\u2000-\u200a\u3000]")
_BEFORE_LETTERS = (" a b", " Q b", " The b", "\nb", "\n5", "\n.")
# Possible followers of a chunk: small letter, capital, sentence starter, two spaces, digit, end.
_FOLLOWERS = (" a b", " Q b", " The b", "  b", " 5 b", "\nb")
# Nine out of ten chunks are a word, perhaps with a mark after it, and need only these lists.
_SPLIT_WORDS = frozenset(["cannot", "gonna", "wanna", "gotta", "gimme", "lemme"])
_ABBREVIATIONS = frozenset(
    [
        *ptb_words.ABBREVIATIONS_ENDING_SENTENCES.split(),
        *ptb_words.CAPITALISED_ABBREVIATIONS.split(),
        *ptb_words.TITLES.split(),
        *ptb_words.NUMBERED_ABBREVIATIONS.split(),
        *["pte", "pty", "ptes", "ptys", "ppte", "ppty", "pptes", "pptys", "mtg", "mfg"],
    ]
)
_MEMO_SIZE = 1 << 17
_MEMO_CHUNK = 64  # Longer chunks rarely repeat, and hostile captions could fill the memory.


class _Memo(dict[str, list[str] | None]):
    """Tokens of chunks between spaces; `None` if they may depend on a chunk's neighbours."""

    def __init__(self, dropped: frozenset[str]) -> None:
        super().__init__({"": []})
        self._dropped = dropped

    def __missing__(self, chunk: str) -> list[str] | None:
        tokens = _read_plain(chunk) or _tokenize_chunk(chunk)
        if tokens is not None:
            tokens = [token for token in tokens if token not in self._dropped]
        if len(chunk) <= _MEMO_CHUNK:
            self[chunk] = tokens
        return tokens


def tokenize(captions: Sequence[str], *, keep_punctuation: bool = False) -> list[list[str]]:
    """Split captions into the tokens that the COCO metrics count.

    Args:
        captions: One batch, in order: the last abbreviation of a caption looks at the next
            caption (`vitamin C.` before `A man` loses its full stop).
        keep_punctuation: Keep the tokens of the punctuation list, as the jar itself does.

    Returns:
        One list of lower-case tokens per caption. A token contains no space but U+00A0 (`1 1/2`).
    """
    cleaned = clean_captions(captions)
    memo = open_memo(keep_punctuation=keep_punctuation)
    last = len(cleaned) - 1

    def read(index: int, caption: str) -> list[str]:
        try:
            # An open chunk gives None, which cannot be iterated.
            tokens = list(chain.from_iterable(map(memo.__getitem__, caption.split(" "))))  # type: ignore[arg-type]
        except TypeError:
            tokens = None
        if tokens is None or index == last:
            return read_in_context(cleaned, index, keep_punctuation=keep_punctuation)
        return tokens

    with without_collecting():
        return [read(index, caption) for index, caption in enumerate(cleaned)]


def clean_captions(captions: Sequence[str]) -> list[str]:
    """Return captions with a space in place of each character that Java treats as a line end."""
    printable = map(str.isprintable, captions)
    return [
        caption if is_plain else caption.translate(_LINE_BREAKS)
        for caption, is_plain in zip(captions, printable, strict=True)
    ]


def open_memo(*, keep_punctuation: bool = False) -> Mapping[str, list[str] | None]:
    """Return a mapping of chunks to their tokens; `None` if they may depend on neighbours."""
    memo = _MEMOS[keep_punctuation]
    if len(memo) > _MEMO_SIZE:
        memo.clear()
        memo[""] = []
    return memo


def read_before_letter(chunk: str) -> list[str] | None:
    """Return an open chunk's tokens if the next one starts with a letter or the caption ends.

    Numbers and single dots depend only on digits, signs and dots after them. For all other chunks,
    return `None`.
    """
    is_number = _NUMBER_END.search(chunk) is not None and _REACHES_FAR.search(chunk) is None
    if chunk != "." and (not is_number or len(chunk) > _MEMO_CHUNK):
        return None
    readings = [lex(chunk + follower, 0, stop=len(chunk)) for follower in _BEFORE_LETTERS]
    if any(reading != readings[0] for reading in readings):
        return None
    return [token for token in readings[0] if token not in PUNCTUATION]


def read_in_context(
    captions: Sequence[str], index: int, *, keep_punctuation: bool = False
) -> list[str]:
    """Return the tokens of one caption of a cleaned batch, read with all its context."""
    read = lex(_with_context(captions, index), 0, stop=len(captions[index]))
    return read if keep_punctuation else [token for token in read if token not in PUNCTUATION]


# Kept for the whole process: most chunks of a batch are known from the previous one.
_MEMOS = {True: _Memo(frozenset()), False: _Memo(PUNCTUATION)}


def _read_plain(chunk: str) -> list[str] | None:
    """Return the tokens of a word and an optional mark after it; None for other chunks."""
    mark = chunk[-1:]
    word = chunk[:-1] if mark in ".," else chunk
    if not (word.isalpha() and word.isascii()):
        return None
    word = word.lower()
    if word in _SPLIT_WORDS:
        return None
    if mark == ".":
        is_abbreviation = len(word) == 1 or word in _ABBREVIATIONS
        return None if is_abbreviation else [word, mark]
    return [word, mark] if mark == "," else [word]


def _tokenize_chunk(chunk: str) -> list[str] | None:
    """Return the tokens of a chunk between spaces; None if they depend on its neighbours."""
    # Tags and spaced dots span spaces.
    # A long chunk is read once, with its caption.
    is_open = "<" in chunk or chunk.startswith(".") or _OPEN_ENDED.search(chunk)
    if is_open or len(chunk) > _MEMO_CHUNK:
        return None
    readings = [
        lex(chunk + follower, 0, stop=len(chunk))
        for follower in (_FOLLOWERS if chunk.endswith(".") else _FOLLOWERS[:1])
    ]
    return readings[0] if all(reading == readings[0] for reading in readings) else None


def _with_context(captions: Sequence[str], index: int) -> str:
    """Return a caption with the following lines on which its tokens may depend."""
    lines = [captions[index]]
    # By index, because slices would copy the rest of a large batch for each caption.
    for place in range(index + 1, len(captions)):
        following = captions[place]
        lines.append(following)
        if following.strip():
            if place + 1 < len(captions):
                lines.append("")  # A line end follows, not the end of the batch.
            break
    return "\n".join(lines)
