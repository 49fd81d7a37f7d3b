"""The tokenizer of the COCO caption metrics: Stanford's PTBTokenizer 3.4.1, without Java.

Equal to `PTBTokenizer -preserveLines -lowerCase` followed by pycocoevalcap's punctuation list, on
one batch of captions. One deliberate deviation: a line-break character inside a caption counts as
a blank; the original takes it for the end of a caption and shifts every later caption by one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from captune.metrics.ptb_lexer import lex

PUNCTUATION = frozenset(
    ["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--"]
    + ["...", ";"]
)
_LINE_BREAKS = str.maketrans(dict.fromkeys("\n\r\x0b\x0c\u2028\u2029", " "))
# Chunks whose tokens may depend on the next chunk: numbers (1 1/2, telephone), odd blanks.
_OPEN_ENDED = re.compile("[0-9]\\)?$|[\t\u00a0\u2000-\u200a\u3000]")
# What may follow a chunk: small letter, capital, sentence starter, two blanks, digit, nothing.
_FOLLOWERS = (" a b", " Q b", " The b", "  b", " 5 b", "\nb")


def tokenize(captions: Sequence[str], *, keep_punctuation: bool = False) -> list[list[str]]:
    """Split captions into the tokens that the COCO metrics count.

    Args:
        captions: One batch, in order: the last abbreviation of a caption looks at the next
            caption (`vitamin C.` before `A man` loses its full stop).
        keep_punctuation: Keep the tokens of the punctuation list, as the jar itself does.

    Returns:
        One list of lower-case tokens a caption. A token holds no blank but U+00A0 (`1 1/2`).
    """
    cleaned = [caption.translate(_LINE_BREAKS) for caption in captions]
    memo: dict[str, list[str] | None] = {"": []}
    lines = []
    last = len(cleaned) - 1
    for index, caption in enumerate(cleaned):
        tokens = None if index == last else _tokenize_chunks(caption, memo)
        if tokens is None:
            tokens = lex(_with_context(cleaned, index), 0, len(caption))
        lines.append(tokens)
    if keep_punctuation:
        return lines
    return [[token for token in line if token not in PUNCTUATION] for line in lines]


def _tokenize_chunks(caption: str, memo: dict[str, list[str] | None]) -> list[str] | None:
    """Tokens of a caption whose chunks do not depend on each other; None where they might."""
    if "<" in caption or ". ." in caption:  # Tags and spaced dots reach over blanks.
        return None
    tokens: list[str] = []
    for chunk in caption.split(" "):
        if chunk not in memo:
            memo[chunk] = _tokenize_chunk(chunk)
        known = memo[chunk]
        if known is None:
            return None
        tokens += known
    return tokens


def _tokenize_chunk(chunk: str) -> list[str] | None:
    """Tokens of a chunk between blanks; None when they depend on what follows."""
    if _OPEN_ENDED.search(chunk):
        return None
    readings = [
        lex(chunk + follower, 0, len(chunk))
        for follower in (_FOLLOWERS if chunk.endswith(".") else _FOLLOWERS[:1])
    ]
    return readings[0] if all(reading == readings[0] for reading in readings) else None


def _with_context(captions: Sequence[str], index: int) -> str:
    """A caption and, line by line, what follows it as far as a rule may look."""
    lines = [captions[index]]
    for following in captions[index + 1 :]:
        lines.append(following)
        if following.strip():
            lines.append("")
            break
    return "\n".join(lines)
