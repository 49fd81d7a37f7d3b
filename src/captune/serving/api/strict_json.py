"""Strict JSON for untrusted input: NaN, duplicate keys and lone surrogates are errors."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from captune.serving.errors import ApiError

_MAX_VALUES = 100_000


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
        value = json.loads(content.decode(), parse_constant=_refuse, object_pairs_hook=_unique)
        if b"\\u" in content:
            # A lone surrogate is not text: it can be neither tokenized nor sent back.
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except RecursionError:
        raise ApiError(400, "invalid_json", "the JSON is nested too deeply") from None
    except ValueError as error:
        raise ApiError(400, "invalid_json", f"the body is not JSON: {_short(error)}") from None


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key occurs twice in an object")
    return found


def _short(error: ValueError) -> str:
    return str(error)[:200]
