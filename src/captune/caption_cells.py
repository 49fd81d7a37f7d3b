"""Caption cells that hold something other than one text: a list, an object, bytes, or nothing.

A cell may have such a value itself, in JSON and Parquet, or the value written as text,
`['a dog', 'a cat']`, as pandas, numpy and JSON write it into tables. Read as one caption, such a
text teaches a model to write brackets.
"""

from __future__ import annotations

import ast
import json
import re
import reprlib
import warnings
from collections.abc import Mapping

CAPTION_KEYS = (
    "caption",
    "captions",
    "text",
    "texts",
    "comment",
    "sentence",
    "sentences",
    "description",
    "alt_text",
    "txt",
    "raw",
    "label_text",
)
"""The usual names of caption columns, and of the key of an object that holds its text."""

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
_STARTS = ("[", "(", "{", "array(", "list(", "tuple(", "set(", "OrderedDict(", "b'", 'b"')
_ENDS = ("]", ")", "}", "'", '"')
_BYTES = re.compile(r"""\s*b(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")\s*\Z""")
_BRACKETS = ("[[", "[(", "([", "((", "['", '["')
_NO_WORDS = re.compile(r"(?:[\[\](),\s]|\b(?:None|nan|NaN|null)\b)*")
_EMPTY = re.compile(r"\s*(?:array\()?\s*(?:\[\s*\]|\{\s*\})\s*(?:,\s*dtype=\w+\s*)?\)?\s*\Z")
_UNFINISHED = re.compile(r"""\s*(?:[\[{]\s*[ub]?['"]|\[\s*\{\s*['"])""")
# numpy writes no commas between the objects of a list.
_NO_COMMA = re.compile(rf"(?P<text>{_STRING})|(?P<end>[}}\])])(?P<gap>\s+)(?=[{{\[(])", re.DOTALL)
_NAMES = {"nan": None, "NaN": None, "null": None, "inf": None, "true": True, "false": False}
_MAX_LENGTH = 2**20
_MAX_DEPTH = 6


class NotTextError(ValueError):
    """A value in the place of a caption that holds no text, or not clearly which.

    Attributes:
        what: The value, in words.
        fix: How to change the data.
    """

    def __init__(self, value: object) -> None:
        self.what, self.fix = _describe(value), _advise(value)
        super().__init__(self.what)


def list_texts(value: object, *, depth: int = 0) -> tuple[str, ...]:
    """Return the texts of a value: a text, a list of texts, or an object with a usual key.

    A missing value (null, NaN) is an empty text.

    Raises:
        NotTextError: It is something else, such as a number.
    """
    if isinstance(value, str):
        return (value,)
    if value is None or value != value:  # noqa: PLR0124
        return ("",)
    if depth > _MAX_DEPTH:
        raise NotTextError(value)
    if isinstance(value, Mapping):
        return list_texts(_get_text(value), depth=depth + 1)
    if isinstance(value, list | tuple):
        return tuple(text for item in value for text in list_texts(item, depth=depth + 1))
    if isinstance(value, bytes):
        try:
            return (value.decode(),)
        except UnicodeDecodeError:
            pass
    raise NotTextError(value)


def _get_text(value: Mapping[object, object]) -> object:
    if "raw" in value:
        # COCO has 616,767 of these: searching each for a key takes longer than parsing.
        return value["raw"]
    by_key = {str(key).strip().lower().replace(" ", "_"): key for key in reversed(value)}
    key = next((by_key[name] for name in ("raw", *CAPTION_KEYS) if name in by_key), None)
    if key is None:
        raise NotTextError(value)
    return value[key]


def read_list_cell(text: str) -> tuple[str, ...] | None:
    """Return the texts of a cell that holds a list, an object or bytes written as text.

    The result is `None` for any other cell, and for an empty list too: `is_empty_list` recognises
    it.

    Raises:
        NotTextError: It holds a value that is not a caption: numbers, or an object without a
            usual key.
    """
    # Most cells are plain captions: this check of the ends keeps them fast.
    if not text.rstrip().endswith(_ENDS) or not text.lstrip().startswith(_STARTS):
        return None
    match = _LIST.match(text)
    if match is None:
        return _read_nested(text) or _read_value(text)
    items = _read_json(text) or tuple(_read_string(item) for item in _ITEM.findall(match["items"]))
    is_tuple = match["open"] == "(" and len(items) == 1 and not match["comma"]
    return None if is_tuple else items


def _read_nested(text: str) -> tuple[str, ...] | None:
    """Return the texts of a list with lists or missing values in it: `[['a'], ['b', nan]]`."""
    found = _ITEM.findall(text) if text.lstrip().startswith(_BRACKETS) else []
    if not found or not _NO_WORDS.fullmatch(_ITEM.sub("", text)):
        return None
    return tuple(_read_string(item) for item in found)


def _read_value(text: str) -> tuple[str, ...] | None:
    """Return the texts of any other list or object, or of bytes: `{'raw': 'a'}`, `b'a'`."""
    if len(text) > _MAX_LENGTH or is_empty_list(text):
        return None
    value = _parse_value(text.strip())
    if isinstance(value, bytes) and _BYTES.match(text):
        return list_texts(value)
    if not isinstance(value, dict | list) and not (isinstance(value, tuple) and len(value) > 1):
        return None
    return tuple(text for text in list_texts(value) if text) or ("",)


def _parse_value(text: str) -> object:
    """Return the value of a JSON or Python text; `None`: it is neither."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return _evaluate(_parse_python(_NO_COMMA.sub(_add_comma, text)))
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


def _parse_python(text: str) -> ast.expr:
    with warnings.catch_warnings():
        # An escape that Python does not have, such as `\d`, is not the user's code.
        warnings.simplefilter("ignore")
        return ast.parse(text, mode="eval").body


def _add_comma(match: re.Match[str]) -> str:
    return match["text"] or f"{match['end']},{match['gap']}"


def _evaluate(node: ast.expr) -> object:
    """Return the value of an expression of lists, objects and literals.

    Raises:
        ValueError: It has anything else in it.
    """
    match node:
        case ast.Constant(value=constant):
            value: object = constant
        case ast.List(elts=items) | ast.Set(elts=items):
            value = [_evaluate(item) for item in items]
        case ast.Tuple(elts=items):
            value = tuple(_evaluate(item) for item in items)
        case ast.Dict(keys=keys, values=values):
            names = [str(_evaluate(key)) for key in keys if key is not None]
            value = dict(zip(names, map(_evaluate, values), strict=True))
        case ast.Name(id=name) if name in _NAMES:
            value = _NAMES[name]
        case ast.UnaryOp(operand=operand):
            value = _evaluate(operand)
        case ast.Call(func=ast.Name(id="OrderedDict"), args=[ast.List(elts=pairs)]):
            value = dict(_evaluate_pair(pair) for pair in pairs)
        # np.str_('a dog'), array([...], dtype=object), ObjectId('...')
        case ast.Call(args=[first, *_]):
            value = _evaluate(first)
        case _:
            raise ValueError(ast.dump(node)[:80])
    return value


def _evaluate_pair(node: ast.expr) -> tuple[str, object]:
    value = _evaluate(node)
    if not isinstance(value, tuple) or len(value) != 2:
        raise ValueError(ast.dump(node)[:80])
    return str(value[0]), value[1]


def is_empty_list(text: str) -> bool:
    """Return whether a cell holds an empty list or object."""
    return _EMPTY.match(text) is not None


def is_unfinished(text: str) -> bool:
    """Return whether a text begins as a list or object of texts; for one that cannot be read."""
    return _UNFINISHED.match(text) is not None


def _read_json(text: str) -> tuple[str, ...] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    is_texts = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return tuple(value) if is_texts else None


def _read_string(item: str) -> str:
    try:
        value = _evaluate(_parse_python(item.removeprefix("u")))
        return value.decode() if isinstance(value, bytes) else str(value)
    except (ValueError, SyntaxError):
        # A line break inside quotes, an escape that Python does not have, or bytes beyond ASCII.
        plain = item.removeprefix("u").removeprefix("b")
        return re.sub(r"\\(.)", r"\1", plain[1:-1], flags=re.DOTALL)


def _describe(value: object) -> str:
    shown = reprlib.repr(value)
    if isinstance(value, Mapping):
        kind = "an object without a key such as 'caption'"
    else:
        kind = type(value).__name__
    return f"a caption must be text or a list of texts, not {kind}: {shown}"


def _advise(value: object) -> str:
    columns = "name the column of the captions with data.caption_column (--caption-column)"
    if isinstance(value, Mapping):
        return (
            f"rename the key that holds the text to 'caption', 'text' or 'raw'; or {columns}"
            if value
            else columns
        )
    if isinstance(value, list | tuple):
        return f"write lists at most {_MAX_DEPTH} deep"
    return f"{columns}, or write the value as text, in quotes"
