"""Groups of mistakes in a report: how often each occurs, by system and among humans."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from captune.evaluation.labels import format_share
from captune.evaluation.report.gallery.items import GalleryItem
from captune.evaluation.report.words.mistakes import KINDS, Kind, Mistake, find_mistakes
from captune.records import CaptionRecord
from captune.suggest import format_count

LABELS: Mapping[Kind, str] = {
    "object": "Wrong object",
    "colour": "Wrong colour",
    "count": "Wrong count",
    "missing": "Missing object",
    "invented": "Invented object",
}

EXPLANATIONS: Mapping[Kind, str] = {
    "object": "names a thing that no human names, and leaves out one that most humans name",
    "colour": "names a colour that no human gives this thing",
    "count": "names a number that no human gives this thing",
    "missing": "leaves out a thing that most humans name",
    "invented": "names a thing that no human names",
}

_MAX_EXAMPLES = 4
_MAX_HUMANS = 2000


@dataclass(frozen=True, slots=True)
class Tally:
    """How many captions of a system have the mistake: number, share as text, and 0..100."""

    count: int
    share: str
    percent: float


@dataclass(frozen=True, slots=True)
class MistakeGroup:
    """One group.

    Attributes:
        kind: Its key.
        label: Its name.
        explanation: What counts as this mistake.
        tallies: One per system, in the order of the captions.
        human: Share of human captions with this mistake, each image's first caption compared with
            the others; empty if the images have one caption each.
        examples: The most frequent mistakes of the last system with their counts.
    """

    kind: Kind
    label: str
    explanation: str
    tallies: tuple[Tally, ...]
    human: str
    examples: tuple[tuple[Mistake, int], ...]


def group_mistakes(
    items: Sequence[GalleryItem], records: Sequence[CaptionRecord], *, things: frozenset[str]
) -> list[MistakeGroup]:
    """Return the groups, the most frequent of the last system first; empty without any mistake.

    Args:
        items: The scored images.
        records: The same images with their human captions.
        things: Words for things, with which mistakes are found.
    """
    if not items:
        return []
    human = _human_shares(records, things)
    groups = []
    for kind in KINDS:
        found = [
            [m for item in items for m in item.captions[place].mistakes if m.kind == kind]
            for place in range(len(items[0].captions))
        ]
        if not any(found):
            continue
        examples = Counter(found[-1]).most_common(_MAX_EXAMPLES)
        groups.append(
            MistakeGroup(
                kind,
                LABELS[kind],
                EXPLANATIONS[kind],
                tuple(_tally(len(own), len(items)) for own in found),
                human.get(kind, ""),
                tuple(examples),
            )
        )
    return sorted(groups, key=lambda group: -group.tallies[-1].count)


def describe_result(groups: Sequence[MistakeGroup], wins: str) -> str:
    """Return the result in a plain sentence.

    Args:
        groups: Result of `group_mistakes`.
        wins: How the images compare, such as `Better on 58 of 60 images, worse on 2.`; may be
            empty.
    """
    if not groups or not groups[0].tallies[-1].count:
        return wins
    group = groups[0]
    number = group.tallies[-1].count
    text = f"Typical mistake: {group.label.lower()} ({format_count(number, 'image')})"
    if group.examples and group.examples[0][1] > 1:
        first = group.examples[0][0]
        # Of a missing thing, the text is "no ...".
        text += f", such as {first.text if first.said else f'“{first.wanted}”'}"
    return f"{wins} {text}.".strip()


def _tally(count: int, total: int) -> Tally:
    return Tally(count, format_share(count / total), 100 * count / total)


def _human_shares(records: Sequence[CaptionRecord], things: frozenset[str]) -> dict[Kind, str]:
    several = [record for record in records if len(record.captions) > 1]
    if 2 * len(several) < len(records):
        return {}
    # A share of some thousands is exact enough, and the search takes a tenth of a millisecond each.
    several = several[:_MAX_HUMANS]
    kinds = Counter(
        mistake.kind
        for record in several
        for mistake in find_mistakes(record.captions[0], record.captions[1:], things=things)
    )
    return {kind: format_share(kinds[kind] / len(several)) for kind in KINDS}
