"""Statistics of captions: lengths, placeholders, and captions that many images share."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from captune.data.check.findings import CommonCaption, LengthStats
from captune.records import CaptionRecord

_MIN_SHARED = 3
_MOST_LISTED = 20
_PLACEHOLDERS = frozenset(
    (
        *("", "n a", "na", "none", "null", "nan", "no caption", "caption", "untitled", "unknown"),
        *("todo", "tbd", "test", "image", "photo", "picture", "no description", "description"),
    )
)
_FILE_OR_URL = re.compile(
    r"^(https?://\S+|www\.\S+|\S+\.(jpe?g|png|gif|webp|bmp|tiff?|heic)|(img|dsc|dscn|pxl)[_-]?\d+)$",
    re.IGNORECASE,
)


def measure_lengths(lengths: Iterable[int]) -> LengthStats:
    """Return mean, quantiles and histogram of lengths; zeros when there are none."""
    ordered = sorted(lengths)
    if not ordered:
        return LengthStats(0.0, 0, 0, 0, {})
    return LengthStats(
        mean=sum(ordered) / len(ordered),
        median=_quantile(ordered, 0.5),
        p95=_quantile(ordered, 0.95),
        longest=ordered[-1],
        histogram=dict(sorted(Counter(ordered).items())),
    )


def find_common_captions(records: Sequence[CaptionRecord]) -> tuple[CommonCaption, ...]:
    """Return captions of at least three images, most frequent first, at most 20."""
    spelled: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for record in records:
        own = {normalise_caption(caption): caption for caption in record.captions}
        counts.update(key for key in own if key)
        for key, caption in own.items():
            spelled.setdefault(key, caption)
    shared = [(key, number) for key, number in counts.most_common() if number >= _MIN_SHARED]
    return tuple(CommonCaption(spelled[key], number) for key, number in shared[:_MOST_LISTED])


def find_placeholders(records: Sequence[CaptionRecord]) -> tuple[CommonCaption, ...]:
    """Return captions that describe nothing (`n/a`, `IMG_0001.jpg`, a URL), by frequency."""
    counts: Counter[str] = Counter()
    for record in records:
        counts.update({text for text in record.captions if text and is_placeholder(text)})
    return tuple(CommonCaption(text, number) for text, number in counts.most_common())


def is_placeholder(caption: str) -> bool:
    """Return whether a caption describes nothing."""
    return (
        normalise_caption(caption) in _PLACEHOLDERS
        or _FILE_OR_URL.match(caption.strip()) is not None
    )


def normalise_caption(caption: str) -> str:
    """Return lower-case words with single spaces: equal for captions with the same words."""
    return " ".join(re.findall(r"\w+", caption.casefold()))


def _quantile(ordered: list[int], share: float) -> int:
    # The smallest value that is at least as large as this share of the values.
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]
