"""Trim words that captioners add by habit or repeat, and cut a text at the end of a word.

The habitual phrases are English; repeats and cuts work in every script, with spaces or without.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

# BLIP's own word, from web captions that its tokenizer cut: huggingface.co/Salesforce/
# blip-image-captioning-large starts half of all its captions with it.
_ARAFED = re.compile(r"\b(?:(an?)\s+)?araf+e?d?\b\s*", re.IGNORECASE)
_MEDIUM = r"(?:picture|photo|photograph|image|photography|pic|shot|view|snapshot)s?"
_QUALITY = r"(?:close[- ]?up|stock|blurry|nice|beautiful|cropped|zoomed[- ]in)"
_STARTS = re.compile(
    rf"""^\W*(?:
      (?:this|it|here)\s+(?:is|are)\s+(?=(?:an?|the|some)\s)
    | (?:there\s+(?:is|are)|there's)\s+(?=\w)
    | (?:(?:an?|the|this|some|these)\s+)?(?:{_QUALITY}\s+)*{_MEDIUM}\s+(?:of|showing)\s+(?=\w)
    | (?:an?\s+)?close[- ]?up\s+(?:of|on)\s+(?=\w)
    | (?:the|this)\s+{_MEDIUM}\s+(?:shows?|depicts?|features?|contains?|captures?)\s+(?=\w)
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_THERE = re.compile(r"^\W*there(?:\s+(?:is|are)|'s)\s", re.IGNORECASE)
_THAT_IS = re.compile(r"^((?:\S+\s+){1,8}?)(?:that|who|which)\s+(?:is|are)\s+(?=\w+ing\b)")
_VOWEL = re.compile(r"[aeiou]", re.IGNORECASE)
# Words that a cut repeat leaves at the end.
_DANGLING = frozenset(
    (
        *("a", "an", "the", "and", "or", "with", "of", "in", "on", "at", "to", "by", "for"),
        *("from", "that", "which", "is", "are", "while", "as"),
        *("und", "oder", "mit", "et", "ou", "avec", "y", "con", "och", "og", "и", "с"),
    )
)
# The longest unit to search for: longer ones are not a habit, and the search is cubic.
_MAX_UNIT = 60
_JOINERS = "\u200d"
_MODIFIERS = re.compile("[\ufe00-\ufe0f\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]")
_FLAG = re.compile("[\U0001f1e6-\U0001f1ff]")
# Scripts that are written without spaces; a text may be cut between any two of their letters.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff"
    "\uff00-\uffef\U00020000-\U0003ffff]"
)


def trim_boilerplate(caption: str) -> str:
    """Return a caption without "arafed", "a picture of", "there is" and the like.

    A caption that consists of nothing else stays as it is.
    """
    text = _drop_arafed(caption)
    was_there = False
    while (match := _STARTS.match(text)) is not None:
        was_there = was_there or _THERE.match(text) is not None
        text = text[match.end() :]
    if was_there:
        text = _THAT_IS.sub(r"\1", text)
    if not text.strip():
        return caption
    if caption.lstrip()[:1].isupper():
        text = text[:1].upper() + text[1:]
    return text


def _drop_arafed(text: str) -> str:
    while (match := _ARAFED.search(text)) is not None:
        rest = text[match.end() :]
        article = match[1] or ""
        if article:
            ending = "n" if _VOWEL.match(rest) else ""
            article = f"{article[0]}{ending} " if rest else ""
        text = text[: match.start()] + article + rest
    return text


def trim_repeats(caption: str) -> str:
    """Return a caption in which a phrase repeated in a row appears once.

    Two words or more are trimmed when they appear twice in a row, one word when it appears three
    times ("very very" stays). An incomplete last copy is trimmed too, with a dangling "and".
    """
    words = caption.split()
    has_spaces = len(words) > 1
    if has_spaces:
        kept = _collapse(words, [_plain(word) for word in words], is_letters=False)
        kept = [_trim_unspaced(word) for word in kept]
        return caption if kept == words else " ".join(kept)
    return _trim_unspaced(caption)


def _trim_unspaced(text: str) -> str:
    if _UNSPACED.search(text) is None:
        return text
    letters = list(text)
    return "".join(_collapse(letters, letters, is_letters=True))


def _plain(word: str) -> str:
    return word.strip(".,;:!?\"'()[]").casefold() or word


def _min_copies(length: int, *, is_letters: bool) -> int:
    """Return how many copies in a row make a unit of words or letters a repeat."""
    if not is_letters:
        return 3 if length == 1 else 2
    # Chinese doubles letters and pairs of letters to soften them.
    return 4 if length == 1 else 3 if length < 4 else 2


def _collapse(units: Sequence[str], plain: Sequence[str], *, is_letters: bool) -> list[str]:
    """Return words or letters with every repeat collapsed to its first copy, shortest first."""
    kept, keys = list(units), list(plain)
    length = 1
    while length <= min(_MAX_UNIT, len(keys) // 2):
        start = 0
        while start + 2 * length <= len(keys):
            end = _end_of_copies(keys, start, length)
            copies = (end - start) // length
            if copies < _min_copies(length, is_letters=is_letters):
                start += 1
                continue
            # The last copy has the punctuation that belongs before what follows.
            kept[start + length - 1] = kept[end - 1]
            end = _end_of_cut_copy(keys, start, end)
            is_last = end == len(keys)
            del kept[start + length : end], keys[start + length : end]
            if is_last and not is_letters:
                _drop_dangling(kept, keys)
            start += length
        length += 1
    return kept


def _end_of_copies(keys: Sequence[str], start: int, length: int) -> int:
    end = start + length
    while keys[end : end + length] == keys[start : start + length]:
        end += length
    return end


def _end_of_cut_copy(keys: Sequence[str], start: int, end: int) -> int:
    """Return the end of the text if what follows the copies is the beginning of one more."""
    rest = keys[end:]
    return len(keys) if list(rest) == list(keys[start : start + len(rest)]) else end


def _drop_dangling(kept: list[str], keys: list[str]) -> None:
    while len(keys) > 1 and keys[-1] in _DANGLING:
        del kept[-1], keys[-1]
    kept[-1] = kept[-1].rstrip(",;:")


def cut_at_word(text: str, limit: int) -> str:
    """Return at most `limit` characters, up to the end of a word, without a comma or dash after it.

    A first word that is longer is cut between two visible characters: accents, emoji and flags stay
    in one piece.
    """
    if len(text) <= limit:
        return text
    ends = [at for at in range(1, limit + 1) if _is_word_end(text, at)]
    if ends and text[: ends[-1]].strip():
        return _strip_end(text[: ends[-1]])
    while limit > 0 and not _may_cut(text, limit):
        limit -= 1
    return text[:limit].rstrip()


def _strip_end(text: str) -> str:
    stripped = text.rstrip()
    while stripped and (
        unicodedata.category(stripped[-1]) in ("Pd", "Ps", "Pi") or stripped[-1] in ",;:、，；："
    ):
        stripped = stripped[:-1].rstrip()
    return stripped or text.rstrip()


def _is_word_end(text: str, at: int) -> bool:
    """Return whether a word ends before position `at`."""
    if text[at].isspace():
        return True
    is_unspaced = _UNSPACED.match(text[at - 1]) or _UNSPACED.match(text[at])
    return bool(is_unspaced) and not text[at - 1].isspace() and _may_cut(text, at)


def _may_cut(text: str, at: int) -> bool:
    """Return whether a cut before position `at` leaves every visible character in one piece."""
    before, after = text[at - 1], text[at]
    if unicodedata.category(after).startswith("M") or _MODIFIERS.match(after):
        return False
    if before in _JOINERS or after in _JOINERS:
        return False
    if _FLAG.match(after):
        # Two letters make a flag: an odd number of them before the cut leaves half a flag.
        first = at
        while first > 0 and _FLAG.match(text[first - 1]):
            first -= 1
        return (at - first) % 2 == 0
    return True
