"""Captions and file names made safe to show: in pages, pictures and spreadsheets.

A caption can come from a stranger's file or from a model's bad day. Escaping is the page's task;
here go the characters that survive escaping and still deceive: NUL and other controls, lone
surrogates, and the bidirectional overrides that let a text rewrite the line around it.
"""

from __future__ import annotations

import re

_SURROGATES = re.compile("[\ud800-\udfff]")
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")
_BLANKS = re.compile(r"[\t\n\r\x85\u2028\u2029]+")
_BIDI_CONTROLS = re.compile("[\u202a-\u202e\u2066-\u2069]")

# A cell that starts with one of these is run as a formula by spreadsheets.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def clean_text(text: str) -> str:
    """One line of text that shows as what it is: no controls, no overrides, no lone surrogates."""
    text = _SURROGATES.sub("\ufffd", text)
    text = _BIDI_CONTROLS.sub("", _CONTROLS.sub("", text))
    return _BLANKS.sub(" ", text)


def shorten_words(text: str, limit: int) -> str:
    """The first `limit` words; an ellipsis says that there were more."""
    words = text.split()
    return text if len(words) <= limit else " ".join(words[:limit]) + " …"


def spreadsheet_text(text: str) -> str:
    """A CSV cell that no spreadsheet takes for a formula."""
    text = _SURROGATES.sub("\ufffd", text).replace("\x00", "")
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text
