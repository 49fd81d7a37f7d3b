"""METEOR 1.5's own normalization of a tokenized caption (`-norm`), before it counts words.

Close to the Moses tokenizer. Written from black-box observation of the jar: every character of the
Basic Multilingual Plane in ten contexts, and every short string over ten small alphabets.
"""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from itertools import chain

import numpy as np

from captune.metrics.meteor.captions import Captions, Ints
from captune.metrics.packed import Vocabulary

_PLAIN = re.compile("[a-z0-9 ]*")
_PLAIN_WORD = re.compile("[a-z0-9]+")
# The only letters the jar knows; any other character is a token of its own.
_ALPHA = (
    "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u017e\u0400-\u0527\u1d00-\u1d7f"
    "\ua640-\ua66e\ua67e-\ua697"
)
_SPACES = " \t\u00a0\u2000-\u200a\u202f\u205f\u3000"
# Patterns consume both sides, as in the jar: in `a-b-c`, no character is left before the second
# hyphen.
_STEPS = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (f"([^{_ALPHA}0-9{_SPACES}.',\u0001-])", r" \1 "),
        ("([^0-9]),([^0-9])", r"\1 , \2"),
        ("([0-9]),([^0-9])", r"\1 , \2"),
        ("([^0-9]),([0-9])", r"\1 , \2"),
        (f"([^{_ALPHA}])'([^{_ALPHA}])", r"\1 ' \2"),
        (f"([^{_ALPHA}0-9])'([{_ALPHA}])", r"\1 ' \2"),
        (f"([{_ALPHA}])'([^{_ALPHA}])", r"\1 ' \2"),
        (f"([{_ALPHA}])'([{_ALPHA}])", r"\1 '\2"),
        ("([0-9])'s", r"\1 's"),
        ("([^-])--([^-])", r"\1-\2"),
        (f"([{_ALPHA}0-9.])-([{_ALPHA}0-9])", r"\1 \2"),
    )
)
_DOTS = re.compile(r"\.{2,}")
_QUOTES = str.maketrans({"\u201c": '"', "\u201d": '"', "\u2018": "'", "\u2019": "'", "`": "'"})
_BLANKS = re.compile(f"[{_SPACES}]+")
_ABBREVIATED = re.compile(f"[{_ALPHA}]")


def normalize_captions(
    captions: Captions, vocabulary: Vocabulary, *, prefixes: AbstractSet[str], hypotheses: bool
) -> Captions:
    """Return the words that METEOR counts, for many captions.

    Args:
        captions: PTB tokens.
        vocabulary: Their words; new ones are added.
        prefixes: Words that keep their full stop.
        hypotheses: Whether they are predictions, which coco-caption preprocesses once more.
    """
    names = list(vocabulary)
    plain = np.fromiter((_PLAIN_WORD.fullmatch(name) is not None for name in names), np.bool_)
    # Most captions are plain words, which do not change.
    owner = np.repeat(np.arange(len(captions.lengths)), captions.lengths)
    odd = np.unique(owner[~plain[captions.words]])
    changed: list[list[int]] = []
    for caption in odd.tolist():
        start, stop = captions.starts[caption : caption + 2].tolist()
        text = " ".join([names[word] for word in captions.words[start:stop].tolist()])
        words = normalize(_as_hypothesis(text) if hypotheses else text, prefixes)
        changed.append([vocabulary[word] for word in words])
    return _exchange(captions, odd, changed)


def _as_hypothesis(text: str) -> str:
    # coco-caption does this to predictions only, before it passes them to the jar.
    return text.replace("|||", "").replace("  ", " ")


def _exchange(captions: Captions, places: Ints, words: list[list[int]]) -> Captions:
    """Return the captions with the words of some of them replaced."""
    lengths = captions.lengths
    kept = np.ones(len(lengths), np.bool_)
    kept[places] = False
    lengths[places] = [len(own) for own in words]
    starts = np.append(0, np.cumsum(lengths))
    numbers = np.zeros(int(starts[-1]), np.int64)
    numbers[np.repeat(kept, lengths)] = captions.words[np.repeat(kept, captions.lengths)]
    numbers[np.repeat(~kept, lengths)] = list(chain.from_iterable(words))
    return Captions(numbers, starts)


def normalize(caption: str, prefixes: AbstractSet[str]) -> list[str]:
    """Return the words that METEOR counts.

    Args:
        caption: PTB tokens joined by spaces.
        prefixes: Words that keep their full stop (the jar's `nonbreaking/english.prefixes`).

    Returns:
        Lower-case words.
    """
    if _PLAIN.fullmatch(caption):
        return caption.split()
    text = f" {caption.translate(_QUOTES)} ".replace("''", '"')
    # Runs of dots are hidden until the end, so that no later rule treats them as full stops.
    text = _DOTS.sub(lambda dots: " " + "\u0001" * len(dots[0]) + " ", text)
    for pattern, replacement in _STEPS:
        text = pattern.sub(replacement, text)
    words = [word for word in _BLANKS.split(text) if word]
    normal: list[str] = []
    for place, word in enumerate(words):
        following = words[place + 1] if place + 1 < len(words) else ""
        normal += _settle_stop(word, following, prefixes)
    return [word.replace("\u0001", ".").replace("\u2013", "-").lower() for word in normal]


def _settle_stop(word: str, following: str, prefixes: AbstractSet[str]) -> list[str]:
    if not word.endswith(".") or len(word) == 1 or word[0] == "\u0001":
        return [word]
    base = word[:-1]
    if "." in base and _ABBREVIATED.search(base):
        return [base.replace(".", "")]
    if base in prefixes or re.match("[a-z]", following):
        return [word]
    return [base, "."]
