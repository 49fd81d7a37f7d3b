"""Statistics of a system's captions: lengths and most frequent captions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from captune.evaluation.labels import format_share
from captune.text_safety import clean_text, shorten_words

MAX_LENGTH = 40
"""Longer captions share the last bar of the histogram."""


@dataclass(frozen=True, slots=True)
class FrequentCaption:
    """A frequent caption of a system.

    Attributes:
        text: The caption.
        count: Number of images with this caption.
        share: Share of all images, as text.
        percent: Share of all images, 0..100.
    """

    text: str
    count: int
    share: str
    percent: float


def length_shares(captions: Mapping[str, Sequence[str]]) -> dict[str, list[float]]:
    """Return the share of captions with 0, 1, 2, ... words per label; each label sums to 1.

    Args:
        captions: Label -> captions.

    Returns:
        Label -> shares, all of the same length; the last bin includes longer captions. Labels
        without captions are missing.
    """
    lengths = {
        label: [min(MAX_LENGTH, len(text.split())) for text in texts]
        for label, texts in captions.items()
        if texts
    }
    size = 1 + max((max(row) for row in lengths.values()), default=-1)
    shares = {}
    for label, row in lengths.items():
        counts = Counter(row)
        shares[label] = [counts[number] / len(row) for number in range(size)]
    return shares


def frequent_captions(captions: Sequence[str], *, limit: int = 8) -> list[FrequentCaption]:
    """Return the most frequent captions in descending order; ties keep their first order."""
    counts = Counter(caption.strip() for caption in captions)
    return [
        FrequentCaption(
            text=shorten_words(clean_text(text), 40) or "(empty)",
            count=count,
            share=format_share(count / len(captions)),
            percent=100 * count / len(captions),
        )
        for text, count in counts.most_common(limit)
    ]
