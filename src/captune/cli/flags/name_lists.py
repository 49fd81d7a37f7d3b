"""Lists of names in one flag: `bleu, cider`."""

from __future__ import annotations

from captune.errors import CaptuneError


def split_names(text: str) -> list[str]:
    """Return the names between commas, without surrounding spaces; empty ones are dropped.

    Raises:
        CaptuneError: There is none: a shell variable without a value would select everything.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise CaptuneError(
            f"a list of names is empty: {text!r}",
            fix="write names with commas between them, or omit the option",
        )
    return names
