"""`--memory`: an amount of memory such as 24GB."""

from __future__ import annotations

import re

from captune.errors import RecipeError

_UNITS = {
    **{"mb": 10**6, "gb": 10**9, "tb": 10**12},
    **{"mib": 2**20, "gib": 2**30, "tib": 2**40},
}
_AMOUNT = re.compile(r"\s*(\d{1,18}(?:\.\d{1,18})?)\s*([a-z]*)\s*", re.IGNORECASE)


def parse_memory(text: str) -> int:
    """Return the bytes of an amount such as `24GB` or `16 GiB`.

    Raises:
        RecipeError: It is not a positive number with a known unit.
    """
    match = _AMOUNT.fullmatch(text)
    size = 0
    if match is not None:
        size = int(float(match[1]) * _UNITS.get(match[2].lower(), 0))
    if size <= 0:
        raise RecipeError(
            f"{text!r} is not an amount of memory",
            where="--memory",
            fix="give a number and one of MB, GB, TB, MiB, GiB, TiB, for example 24GB",
        )
    return size
