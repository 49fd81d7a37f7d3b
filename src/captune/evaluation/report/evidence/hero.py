"""Three telling images at the top of a report: the biggest gain, a typical one, a failure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from captune.evaluation.report.gallery.cards import Card, make_card, typical_places
from captune.evaluation.report.gallery.items import GalleryItem
from captune.records import CaptionRecord

HERO_SIDE = 560


@dataclass(frozen=True, slots=True)
class Hero:
    """One large picture.

    Attributes:
        kind: CSS class: `gain`, `typical` or `failure`.
        label: Why it is shown.
        card: The image with its captions.
    """

    kind: str
    label: str
    card: Card


def make_heroes(
    items: Sequence[GalleryItem], records: Sequence[CaptionRecord], *, has_baseline: bool
) -> list[Hero]:
    """Return three pictures, or none if fewer than three images have a score.

    Args:
        items: The scored images.
        records: The record of each item.
        has_baseline: Whether the gains compare with another system.
    """
    return [
        Hero(kind, label, make_card(records[item.place], item, reasons=(kind,), side=HERO_SIDE))
        for kind, label, item in choose_heroes(items, has_baseline=has_baseline)
    ]


def choose_heroes(
    items: Sequence[GalleryItem], *, has_baseline: bool
) -> list[tuple[str, str, GalleryItem]]:
    """Return kind, label and item of up to three different images.

    Without a baseline, the best caption stands for the biggest gain. Images without a score
    cannot be chosen.
    """
    known = [item for item in items if not math.isnan(item.quality)]
    if len(known) < 3:
        return []
    best, best_label = _best(known, has_baseline=has_baseline)
    worst = _first(known, lambda item: item.quality, skip=best)
    rest = [item for item in known if item is not best and item is not worst]
    typical = rest[typical_places([item.quality for item in rest])[0]]
    return [
        ("gain", best_label, best),
        ("typical", "Typical", typical),
        ("failure", "Failure", worst),
    ]


def _best(known: Sequence[GalleryItem], *, has_baseline: bool) -> tuple[GalleryItem, str]:
    gained = [item for item in known if item.gain > 0]
    if has_baseline and gained:
        return _first(gained, lambda item: -item.gain), "Biggest gain"
    return _first(known, lambda item: -item.quality), "Best caption"


def _first(
    items: Sequence[GalleryItem],
    key: Callable[[GalleryItem], float],
    *,
    skip: GalleryItem | None = None,
) -> GalleryItem:
    """Return the item with the lowest key; of equal ones, the first."""
    return min(
        (item for item in items if item is not skip), key=lambda item: (key(item), item.place)
    )
