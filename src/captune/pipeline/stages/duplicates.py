"""What data_check.json found to be equal, as the reason of the report to clean the data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from captune.suggest import format_count

# The worst first. An image that the data set lists in two splits was kept in one of them.
_LEAKS = {
    "exact": "The same image is in two splits ({}), which makes the scores too good.",
    "near": "Nearly the same image is in two splits ({}), which can make the scores too good.",
    "group": "Images of one group are in two splits ({}), which can make the scores too good.",
}


def describe_duplicates(found: Mapping[str, object]) -> str:
    """Return what to clean in the data, in a sentence; empty if nothing is equal.

    Args:
        found: Content of data_check.json; keys may be missing, and values damaged.
    """
    kinds = Counter(
        str(leak.get("kind")) for leak in _list(found, "leaks") if isinstance(leak, dict)
    )
    for kind, sentence in _LEAKS.items():
        if kinds[kind]:
            return sentence.format(format_count(kinds[kind], "case"))
    exact, near = _list(found, "exact_duplicates"), _list(found, "near_duplicates")
    if not exact and not near:
        return ""
    alike = " or ".join(["the same"] * bool(exact) + ["nearly the same"] * bool(near))
    return f"Images look {alike}: {format_count(len(exact) + len(near), 'group')}."


def _list(found: Mapping[str, object], key: str) -> list[object]:
    value = found.get(key)
    return value if isinstance(value, list) else []
