"""JSON from strangers: no NaN, no key twice, and an error instead of a crash."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from captune.serving.errors import ApiError


def parse_strict_json(content: bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        ApiError: 400: it is not JSON in UTF-8, is nested too deeply, contains NaN or an infinite
            number, or an object has a key twice.
    """
    try:
        return json.loads(content, parse_constant=_refuse, object_pairs_hook=_unique)
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
