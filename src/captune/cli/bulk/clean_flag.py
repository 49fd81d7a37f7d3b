"""The flag `--clean`, whose value is optional: click would take the next input as its value."""

from __future__ import annotations

from collections.abc import Sequence

CLEAN_ALL = "all"
CLEAN_WORDS = (CLEAN_ALL, "boilerplate", "repeat")
_FLAG = "--clean"


def fill_clean(words: Sequence[str]) -> list[str]:
    """Return the words of a command, with `all` as the value of a `--clean` that has none."""
    end = words.index("--") if "--" in words else len(words)
    filled = []
    for place, word in enumerate(words):
        following = words[place + 1] if place + 1 < end else ""
        is_bare = word == _FLAG and not set(following.split(",")) <= set(CLEAN_WORDS)
        filled.append(f"{_FLAG}={CLEAN_ALL}" if is_bare and place < end else word)
    return filled
