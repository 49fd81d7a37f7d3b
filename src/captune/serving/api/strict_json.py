"""Strict JSON for untrusted input: NaN, duplicate keys and lone surrogates are errors.

A body of 64 MB is images in base64. Long strings are cut out before the JSON is parsed and checked
in pieces: `json.loads` keeps all other threads of the process waiting until it returns.
"""

from __future__ import annotations

import json
import secrets
from typing import Any, NoReturn

from captune.serving.errors import ApiError

_MAX_VALUES = 100_000
_LONG = 1 << 16
_PIECE = 1 << 20


def parse_strict_json(content: bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        ApiError: 400: it is not JSON in UTF-8, is nested too deeply, has too many values, contains
            NaN or a lone surrogate, or an object has a duplicate key.
    """
    # Base64 contains none of these characters: a body of 64 MB may hold images, but not 20 million
    # empty lists.
    if sum(content.count(mark) for mark in (b",", b"[", b"{")) > _MAX_VALUES:
        raise ApiError(400, "invalid_json", "the JSON has too many values")
    try:
        short, cut = _cut_long_strings(content)
        value = json.loads(short.decode(), parse_constant=_refuse, object_pairs_hook=_unique)
        if cut:
            value = _put_back(value, cut)
        if b"\\u" in short:
            # A lone surrogate is not text: it can be neither tokenized nor sent back.
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except RecursionError:
        raise ApiError(400, "invalid_json", "the JSON is nested too deeply") from None
    except ValueError as error:
        raise ApiError(400, "invalid_json", f"the body is not JSON: {_short(error)}") from None


def _cut_long_strings(content: bytes) -> tuple[bytes, dict[str, memoryview]]:
    """Return the text with names in place of long strings, and the strings by name."""
    # With an escaped quote, strings would end elsewhere.
    if len(content) < _LONG or b"\\" in content:
        return content, {}
    # Nobody knows it, so no string of the client's equals a name.
    token = secrets.token_hex(16)
    parts, cut, kept_to = list[bytes](), dict[str, memoryview](), 0
    start = content.find(b'"')
    while start >= 0 and (end := content.find(b'"', start + 1)) >= 0:
        if end - start > _LONG:
            name = f"{token}{len(cut)}"
            cut[name] = memoryview(content)[start + 1 : end]
            parts += [content[kept_to : start + 1], name.encode()]
            kept_to = end
        start = content.find(b'"', end + 1)
    return b"".join([*parts, content[kept_to:]]), cut


def _put_back(value: Any, cut: dict[str, memoryview]) -> Any:
    if isinstance(value, str):
        return _read_string(cut[value]) if value in cut else value
    if isinstance(value, list):
        return [_put_back(one, cut) for one in value]
    if isinstance(value, dict):
        return {_put_back(key, cut): _put_back(one, cut) for key, one in value.items()}
    return value


def _read_string(text: memoryview) -> str:
    """Return a JSON string without escapes; a mebibyte at a time, so that other threads can run."""
    pieces = [bytes(text[at : at + _PIECE]) for at in range(0, len(text), _PIECE)]
    if not all(piece.isascii() for piece in pieces):
        pieces = [bytes(text)]
    return "".join(json.loads(b'"%b"' % piece) for piece in pieces)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key occurs twice in an object")
    return found


def _short(error: ValueError) -> str:
    return str(error)[:200]
