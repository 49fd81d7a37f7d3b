"""Broken copies of a saved model's JSON files: one value changed, one key gone, or the text cut."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

FILES = (
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
)
_VALUES: tuple[Any, ...] = (
    *(0, -1, 1, 2, 3, 7, 10**6, 10**9, 10**30, 0.5, -0.5, 1e300),
    *(float("nan"), float("inf"), "", "abc", "12", "\x00", None, True, False),
    *([], [0], [1, 2, 3], [[1]], ["a"], {}, {"a": 1}, {"height": 0}),
)


def mutate(folder: Path, *, seed: int) -> str:
    """Break one file of the folder; return what was done, for the test's message.

    Args:
        folder: A saved model, changed in place.
        seed: The same seed breaks the same folder the same way.
    """
    rng = random.Random(seed)
    present = [name for name in FILES if (folder / name).is_file()]
    # The model's config has most of what can go wrong.
    name = "config.json" if rng.random() < 0.4 else rng.choice(present)
    path = folder / name
    if rng.random() < 0.08:
        return f"{name}: {_break_text(path, rng)}"
    content = json.loads(path.read_text(encoding="utf-8"))
    done = [_change_one(content, rng) for _ in range(rng.choice((1, 1, 1, 2)))]
    path.write_text(json.dumps(content), encoding="utf-8")
    return f"{name}: {'; '.join(done)}"


def _break_text(path: Path, rng: random.Random) -> str:
    content = path.read_bytes()
    broken = rng.choice(
        (
            b"",
            b"null",
            b"[]",
            b'"text"',
            b"{}",
            b"\xff\xfe\x00",
            content[: rng.randrange(len(content))],
            b'{"a":' * 100_000,
            content.replace(b'"', b"'"),
        )
    )
    path.write_bytes(broken)
    return f"the text is {broken[:20]!r}, {len(broken)} bytes"


def _change_one(content: Any, rng: random.Random) -> str:
    holder, key = rng.choice(_places(content))
    where = f"{key!r} (was {str(holder[key])[:40]!r})"
    if rng.random() < 0.12:
        del holder[key]
        return f"{where} removed"
    # A copy: a second change may be inside it.
    holder[key] = copy.deepcopy(rng.choice(_VALUES))
    return f"{where} = {holder[key]!r}"


def _places(content: Any) -> list[tuple[Any, Any]]:
    """Holder and key of every value; long lists (a vocabulary) by their first few values."""
    keys = list(content) if isinstance(content, dict) else list(range(len(content)))
    found: list[tuple[Any, Any]] = []
    for key in keys[:40]:
        found.append((content, key))
        if isinstance(content[key], dict | list):
            found += _places(content[key])
    return found
