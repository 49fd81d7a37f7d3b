"""Flags of suspicious captions."""

from __future__ import annotations

_MAX_LOOP = 12


def flag_caption(caption: str) -> tuple[str, ...]:
    """Return the flags of a caption: `empty` without text, `repetition` if it loops, else none."""
    words = caption.split()
    if not words:
        return ("empty",)
    return ("repetition",) if _loops(words) else ()


def _loops(words: list[str]) -> bool:
    """Return whether a run of words is immediately repeated.

    A run of one or two words must occur three times ("very very big" is English), a longer one
    twice.
    """
    for size in range(1, min(_MAX_LOOP, len(words) // 2) + 1):
        needed = size if size > 2 else 2 * size
        run = 0
        for earlier, later in zip(words, words[size:], strict=False):
            run = run + 1 if earlier == later else 0
            if run == needed:
                return True
    return False
