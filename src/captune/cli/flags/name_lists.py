"""Lists of names in one flag: `bleu, cider`."""

from __future__ import annotations


def split_names(text: str) -> list[str]:
    """Return the names between commas, without surrounding spaces; empty ones are dropped."""
    return [name.strip() for name in text.split(",") if name.strip()]
