"""The English Porter2 stemmer as METEOR 1.5 ships it, frozen.

Later Snowball releases changed the stems of words that captions use (evening, university,
organized), so a library would deviate from the published numbers. This follows Martin Porter's
description ("The English (Porter2) stemming algorithm") in its form before 2012.
"""

from __future__ import annotations

import re

_VOWELS = frozenset("aeiouy")
_DOUBLES = frozenset(["bb", "dd", "ff", "gg", "mm", "nn", "pp", "rr", "tt"])
_LI_ENDINGS = frozenset("cdeghkmnrt")
_SPECIAL = {
    "skis": "ski",
    "skies": "sky",
    "dying": "die",
    "lying": "lie",
    "tying": "tie",
    "idly": "idl",
    "gently": "gentl",
    "ugly": "ugli",
    "early": "earli",
    "only": "onli",
    "singly": "singl",
}
_UNCHANGED = frozenset(["sky", "news", "howe", "atlas", "cosmos", "bias", "andes"])
_UNCHANGED_SINGULARS = frozenset(
    ["inning", "outing", "canning", "herring", "earring", "proceed", "exceed", "succeed"]
)
_STEP_2 = (
    ("ational", "ate"),
    ("fulness", "ful"),
    ("iveness", "ive"),
    ("ization", "ize"),
    ("ousness", "ous"),
    ("biliti", "ble"),
    ("lessli", "less"),
    ("tional", "tion"),
    ("alism", "al"),
    ("aliti", "al"),
    ("ation", "ate"),
    ("entli", "ent"),
    ("fulli", "ful"),
    ("iviti", "ive"),
    ("ousli", "ous"),
    ("abli", "able"),
    ("alli", "al"),
    ("anci", "ance"),
    ("ator", "ate"),
    ("enci", "ence"),
    ("izer", "ize"),
    ("bli", "ble"),
    ("ogi", "og"),
    ("li", ""),
)
_STEP_3 = (
    ("ational", "ate"),
    ("tional", "tion"),
    ("alize", "al"),
    ("icate", "ic"),
    ("iciti", "ic"),
    ("ative", ""),
    ("ical", "ic"),
    ("ness", ""),
    ("ful", ""),
)
_STEP_4 = (
    *("ement", "able", "ance", "ence", "ible", "ment", "ant", "ate", "ent", "ion", "ism"),
    *("iti", "ive", "ize", "ous", "al", "er", "ic"),
)
# For most words, one check of all endings shows that a step changes nothing.
_STEP_2_ENDINGS = tuple(suffix for suffix, _ in _STEP_2)
_STEP_3_ENDINGS = tuple(suffix for suffix, _ in _STEP_3)
_REGION = re.compile("[aeiouy][^aeiouy]")
_SHORT_SYLLABLE = re.compile("(?:[^aeiouy][aeiouy][^aeiouywxY]|^[aeiouy][^aeiouy])$")
_HAS_VOWEL = re.compile("[aeiouy]")


def stem(word: str) -> str:
    """Return the stem of a lower-case English word; up to two letters stay unchanged."""
    if word in _SPECIAL:
        return _SPECIAL[word]
    if word in _UNCHANGED or len(word) <= 2:
        return word
    word = _mark_consonant_y(word.removeprefix("'"))
    first, second = _regions(word)
    word = _step_1a(_step_0(word))
    if word not in _UNCHANGED_SINGULARS:
        word = _step_1c(_step_1b(word, first))
        word = _step_2(word, first)
        word = _step_3(word, first=first, second=second)
        word = _step_4(word, second)
        word = _step_5(word, first=first, second=second)
    return word.replace("Y", "y")


def _mark_consonant_y(word: str) -> str:
    if "y" not in word:
        return word
    letters = list(word)
    for place, letter in enumerate(letters):
        if letter == "y" and (place == 0 or letters[place - 1] in _VOWELS):
            letters[place] = "Y"
    return "".join(letters)


def _regions(word: str) -> tuple[int, int]:
    prefix = re.match("gener|commun|arsen", word)
    if prefix:
        first = prefix.end()
    else:
        match = _REGION.search(word)
        first = match.end() if match else len(word)
    match = _REGION.search(word, first)
    return first, match.end() if match else len(word)


def _step_0(word: str) -> str:
    for suffix in ("'s'", "'s", "'"):
        if word.endswith(suffix):
            return word[: -len(suffix)]
    return word


def _step_1a(word: str) -> str:
    if word.endswith("sses"):
        return word[:-2]
    if word.endswith(("ied", "ies")):
        return word[:-2] if len(word) > 4 else word[:-1]
    if word.endswith(("us", "ss")):
        return word
    if word.endswith("s") and _HAS_VOWEL.search(word[:-2]):
        return word[:-1]
    return word


def _step_1b(word: str, first: int) -> str:
    for suffix in ("eedly", "eed"):
        if word.endswith(suffix):
            return word[: -len(suffix)] + "ee" if len(word) - len(suffix) >= first else word
    for suffix in ("ingly", "edly", "ing", "ed"):
        if word.endswith(suffix):
            base = word[: -len(suffix)]
            return _mend(base, first) if _HAS_VOWEL.search(base) else word
    return word


def _mend(base: str, first: int) -> str:
    if base.endswith(("at", "bl", "iz")):
        return base + "e"
    if base[-2:] in _DOUBLES:
        return base[:-1]
    if len(base) <= first and _SHORT_SYLLABLE.search(base):
        return base + "e"
    return base


def _step_1c(word: str) -> str:
    if len(word) > 2 and word[-1] in "yY" and word[-2] not in _VOWELS:
        return word[:-1] + "i"
    return word


def _step_2(word: str, first: int) -> str:
    if not word.endswith(_STEP_2_ENDINGS):
        return word
    for suffix, replacement in _STEP_2:
        if word.endswith(suffix):
            start = len(word) - len(suffix)
            if start < first or not _may_replace(suffix, word[:start]):
                return word
            return word[:start] + replacement
    return word


def _may_replace(suffix: str, base: str) -> bool:
    if suffix == "ogi":
        return base.endswith("l")
    return suffix != "li" or base[-1:] in _LI_ENDINGS


def _step_3(word: str, *, first: int, second: int) -> str:
    if not word.endswith(_STEP_3_ENDINGS):
        return word
    for suffix, replacement in _STEP_3:
        if word.endswith(suffix):
            start = len(word) - len(suffix)
            if start < (second if suffix == "ative" else first):
                return word
            return word[:start] + replacement
    return word


def _step_4(word: str, second: int) -> str:
    if not word.endswith(_STEP_4):
        return word
    for suffix in _STEP_4:
        if word.endswith(suffix):
            start = len(word) - len(suffix)
            if start < second or (suffix == "ion" and word[:start][-1:] not in ("s", "t")):
                return word
            return word[:start]
    return word


def _step_5(word: str, *, first: int, second: int) -> str:
    end = len(word) - 1
    if word.endswith("e"):
        if end >= second or (end >= first and not _SHORT_SYLLABLE.search(word[:-1])):
            return word[:-1]
    elif word.endswith("ll") and end >= second:
        return word[:-1]
    return word
