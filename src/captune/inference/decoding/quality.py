"""Flags of captions that need a look."""

from __future__ import annotations

_LONGEST_LOOP = 12


def flag_caption(caption: str) -> tuple[str, ...]:
    """Return `empty` for a caption without text, `repetition` for one that loops."""
    words = caption.split()
    if not words:
        return ("empty",)
    return ("repetition",) if _loops(words) else ()


def _loops(words: list[str]) -> bool:
    """Return whether a run of words repeats at once.

    Three times for one or two words ("very very big" is English), twice for longer runs.
    """
    for size in range(1, min(_LONGEST_LOOP, len(words) // 2) + 1):
        needed = size if size > 2 else 2 * size
        run = 0
        for earlier, later in zip(words, words[size:], strict=False):
            run = run + 1 if earlier == later else 0
            if run == needed:
                return True
    return False
