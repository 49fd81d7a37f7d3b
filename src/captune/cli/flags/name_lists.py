"""Lists of names in one word, as flags take them: `bleu, cider`."""

from __future__ import annotations


def split_names(text: str) -> list[str]:
    """The names between the commas; blanks around them and empty ones do not count."""
    return [name.strip() for name in text.split(",") if name.strip()]
