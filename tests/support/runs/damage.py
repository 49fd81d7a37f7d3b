"""Damage to a JSON or JSONL file, as by disks, power cuts, editors and other versions."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

Damage = Callable[[bytes, random.Random], bytes]

_OTHERS: tuple[Any, ...] = (None, True, -1, 1.5, "x", "", [], ["x"], [[1]], {}, {"x": 1}, 10**30)


def _first_line(content: bytes) -> tuple[Any, bytes]:
    """Return the value of a JSON file, or of a JSONL file's first line, and the other lines."""
    try:
        return json.loads(content), b""
    except ValueError:
        line, _, rest = content.partition(b"\n")
        return json.loads(line), b"\n" + rest


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Return every container and key or index inside a JSON value."""
    keys = value.keys() if isinstance(value, dict) else range(len(value))
    found = []
    for key in keys:
        found.append((value, key))
        if isinstance(value[key], dict | list):
            found += _places(value[key])
    return found


def _replace_one(content: bytes, rng: random.Random) -> bytes:
    value, rest = _first_line(content)
    places = _places(value) if isinstance(value, dict | list) else []
    if places:
        container, key = rng.choice(places)
        container[key] = rng.choice(_OTHERS)
    return json.dumps(value).encode() + rest


def _delete_one(content: bytes, rng: random.Random) -> bytes:
    value, rest = _first_line(content)
    places = _places(value) if isinstance(value, dict | list) else []
    if places:
        container, key = rng.choice(places)
        del container[key]
    return json.dumps(value).encode() + rest


DAMAGES: dict[str, Damage] = {
    "empty": lambda content, rng: b"",
    "nulls": lambda content, rng: bytes(len(content)),
    "cut": lambda content, rng: content[: rng.randrange(max(1, len(content)))],
    "nulls_at_the_end": lambda content, rng: content[: len(content) // 2] + bytes(40),
    "not_utf_8": lambda content, rng: content[:9] + b"\xff\xfe\xe9" + content[9:],
    "other_json": lambda content, rng: json.dumps(rng.choice(_OTHERS)).encode() + b"\n",
    "nested": lambda content, rng: b"[" * 100_000 + b"\n",
    "long_number": lambda content, rng: b"1" * 5000 + b"\n",
    "twice": lambda content, rng: content + content,
    "replaced_value": _replace_one,
    "deleted_value": _delete_one,
}
"""Name -> function that damages the bytes of a file of JSON objects."""
