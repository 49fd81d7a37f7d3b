"""Table cells that hold a list written as text, `['a dog', 'a cat']`, as pandas writes them.

Python, JSON and numpy, which separates items with spaces, write such cells. Read as one caption,
a cell like this teaches a model to write brackets.
"""

from __future__ import annotations

import ast
import json
import re

_STRING = r"""[ub]?(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_ITEM = re.compile(_STRING, re.DOTALL)
_LIST = re.compile(
    rf"""
    \s* (?:array\( | list\( | tuple\( | set\( )? \s* (?P<open>[\[({{]) \s*
    (?P<items> {_STRING} (?: (?:\s*,\s*|\s+) {_STRING} )* )
    (?P<comma> \s*,)? \s* [\])}}] \s* (?: ,\s*dtype=\w+ \s* )? \)? \s* \Z
    """,
    re.DOTALL | re.VERBOSE,
)
_STARTS = ("[", "(", "{", "array(", "list(", "tuple(", "set(")
_BRACKETS = ("[[", "[(", "([", "((", "['", '["')
_NO_WORDS = re.compile(r"(?:[\[\](),\s]|\b(?:None|nan|NaN|null)\b)*")
_EMPTY = re.compile(r"\s*(?:array\()?\s*\[\s*\]\s*(?:,\s*dtype=\w+\s*)?\)?\s*\Z")


def read_list_cell(text: str) -> tuple[str, ...] | None:
    """Return the texts of a cell that holds a list of texts, or `None` for any other cell.

    The result is `None` for an empty list too: `is_empty_list` recognises it.
    """
    # Most cells are plain captions: this check of the ends keeps them fast.
    if not text.rstrip().endswith(("]", ")", "}")) or not text.lstrip().startswith(_STARTS):
        return None
    match = _LIST.match(text)
    if match is None:
        return _read_nested(text)
    items = _read_json(text) or tuple(_read_string(item) for item in _ITEM.findall(match["items"]))
    is_tuple = match["open"] == "(" and len(items) == 1 and not match["comma"]
    return None if is_tuple else items


def _read_nested(text: str) -> tuple[str, ...] | None:
    """Return the texts of a list with lists or missing values in it: `[['a'], ['b', nan]]`."""
    found = _ITEM.findall(text) if text.lstrip().startswith(_BRACKETS) else []
    if not found or not _NO_WORDS.fullmatch(_ITEM.sub("", text)):
        return None
    return tuple(_read_string(item) for item in found)


def is_empty_list(text: str) -> bool:
    """Return whether a cell holds an empty list."""
    return _EMPTY.match(text) is not None


def _read_json(text: str) -> tuple[str, ...] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    is_texts = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return tuple(value) if is_texts else None


def _read_string(item: str) -> str:
    item = item.removeprefix("u").removeprefix("b")
    try:
        return str(ast.literal_eval(item))
    except (ValueError, SyntaxError):
        # A line break inside quotes, or an escape that Python does not have.
        return re.sub(r"\\(.)", r"\1", item[1:-1], flags=re.DOTALL)
