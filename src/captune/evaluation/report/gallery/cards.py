"""The images inside a report's file: a telling selection, with thumbnails."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from captune.errors import ImageError
from captune.evaluation.report.gallery.items import GalleryItem
from captune.evaluation.report.gallery.thumbnails import THUMBNAIL_SIDE, read_thumbnail
from captune.records import CaptionRecord


@dataclass(frozen=True, slots=True)
class Choice:
    """An image chosen for a gallery.

    Attributes:
        place: Its position among the scored images.
        reasons: Why it was chosen, at least one of `hero`, `gain`, `loss`, `worst`, `typical`,
            `random`.
    """

    place: int
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Card:
    """One image of a gallery.

    Attributes:
        item: Its captions and scores.
        thumbnail: `data:` URI of a JPEG; empty if the image cannot be decoded.
        problem: Why it cannot be decoded; empty if it can.
        size: Width and height of the thumbnail in pixels.
        reasons: Why it was chosen.
    """

    item: GalleryItem
    thumbnail: str
    problem: str
    size: tuple[int, int]
    reasons: tuple[str, ...]

    @property
    def references(self) -> tuple[str, ...]:
        """The human captions shown."""
        return self.item.references

    @property
    def name(self) -> str:
        """Readable file name."""
        return self.item.name


def choose_images(
    gains: Sequence[float],
    quality: Sequence[float],
    *,
    size: int,
    seed: int,
    heroes: Sequence[int] = (),
) -> list[Choice]:
    """Choose the biggest gains and losses, the worst captions, a typical one, and random images.

    Args:
        gains: Gain per image, positive is better; NaN if unknown.
        quality: Score of the last system per image, higher is better; NaN if unknown.
        size: Maximum number of images.
        seed: Seed of the random images.
        heroes: Images that the page also shows elsewhere; they are always chosen.

    Returns:
        Each chosen image once, in the order of the data.
    """
    total = len(quality)
    by_gain = sorted((p for p in range(total) if gains[p] > 0), key=lambda p: -gains[p])
    by_loss = sorted((p for p in range(total) if gains[p] < 0), key=lambda p: gains[p])
    known = [p for p in range(total) if not math.isnan(quality[p])]
    by_quality = sorted(known, key=lambda p: quality[p])
    share = max(1, size // 4)
    reasons: dict[int, list[str]] = {place: ["hero"] for place in heroes}
    listed = [("gain", by_gain[:share]), ("loss", by_loss[:share]), ("worst", by_quality[:share])]
    # A small gallery has no place for it beside the extremes.
    if size > 3:
        listed.insert(1, ("typical", typical_places(quality)))
    for reason, places in listed:
        for place in places:
            if place in reasons or len(reasons) < size:
                reasons.setdefault(place, []).append(reason)
    # The rest is drawn from all images, so that the gallery also shows ordinary ones.
    shuffled = random.Random(seed).sample(range(total), total)
    for place in shuffled:
        if len(reasons) >= min(size, total):
            break
        reasons.setdefault(place, ["random"])
    return [Choice(place, tuple(reasons[place])) for place in sorted(reasons)]


def choose_cards(
    items: Sequence[GalleryItem],
    records: Sequence[CaptionRecord],
    *,
    size: int,
    seed: int,
    heroes: Sequence[int] = (),
) -> list[Card]:
    """Return the cards of the chosen images, see `choose_images`.

    Args:
        items: All images.
        records: The record of each item.
        size: Maximum number of cards.
        seed: Seed of the random images.
        heroes: Places of images that are always chosen.
    """
    choices = choose_images(
        [item.gain for item in items],
        [item.quality for item in items],
        size=size,
        seed=seed,
        heroes=heroes,
    )
    return [
        make_card(records[choice.place], items[choice.place], reasons=choice.reasons)
        for choice in choices
    ]


def typical_places(quality: Sequence[float]) -> list[int]:
    """Return the image with the median score; empty if no score is known."""
    known = sorted(
        (p for p in range(len(quality)) if not math.isnan(quality[p])), key=lambda p: quality[p]
    )
    return known[len(known) // 2 : len(known) // 2 + 1]


def make_card(
    record: CaptionRecord,
    item: GalleryItem,
    *,
    reasons: tuple[str, ...],
    side: int = THUMBNAIL_SIDE,
) -> Card:
    """Add its thumbnail to an item.

    Args:
        record: The image.
        item: Its captions and scores.
        reasons: See `Card`.
        side: Longer side of the thumbnail in pixels, at most.
    """
    try:
        thumbnail, size, problem = *read_thumbnail(record.image, side=side), ""
    except ImageError as error:
        thumbnail, size, problem = "", (4, 3), error.what
    return Card(item, thumbnail, problem, size, reasons)
