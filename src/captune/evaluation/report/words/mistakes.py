"""Mistakes in captions, found by comparing their words with the human captions of the image.

No model looks at the image: a caption names a colour, a number or a thing that no human names, or
leaves out a thing that most humans name. A synonym counts as a mistake, so the groups are for
finding images worth a look, not for publishing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from captune.evaluation.report.words.word_lists import (
    ARTICLES,
    COLOURS,
    FUNCTION_WORDS,
    NOT_THINGS,
    NUMBER_WORDS,
    NUMBERS,
    singular,
    split_words,
)
from captune.metrics import name_coco_objects

Kind = Literal["object", "colour", "count", "missing", "invented"]
KINDS: tuple[Kind, ...] = ("object", "colour", "count", "missing", "invented")

_MIN_SEEN = 2
_MIN_SHARE = 0.25
_SPAN = 3
"""A colour or number belongs to the first thing among the next words, at most this many."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake of a caption.

    Attributes:
        kind: Its group.
        said: The caption's word; empty if a thing is missing.
        wanted: The humans' word; empty if a thing is invented.
    """

    kind: Kind
    said: str
    wanted: str

    @property
    def text(self) -> str:
        """The mistake in a few words."""
        if not self.said:
            return f"no “{self.wanted}”"
        return f"“{self.said}” instead of “{self.wanted}”" if self.wanted else f"“{self.said}”"


@dataclass(frozen=True, slots=True)
class _Named:
    """What a caption names.

    Attributes:
        things: Things by name; words for one class of COCO have the name of the class.
        colours: Colours by name.
        coloured: (colour, thing) that stand together.
        counted: Thing -> its numbers.
    """

    things: frozenset[str]
    colours: frozenset[str]
    coloured: frozenset[tuple[str, str]]
    counted: Mapping[str, frozenset[int]]


def learn_things(captions: Iterable[str]) -> frozenset[str]:
    """Return the words that name things in these captions.

    A word is taken for a thing if it often stands between an article, number or colour and the
    end, or a word such as "in" or "is". Captions in other languages than English give none.
    """
    seen: Counter[str] = Counter()
    as_thing: Counter[str] = Counter()
    for caption in captions:
        words = split_words(caption)
        for place, word in enumerate(words):
            seen[singular(word)] += 1
            before = words[place - 1] if place else ""
            after = words[place + 1] if place + 1 < len(words) else ""
            starts = before in ARTICLES or before in NUMBERS or before in COLOURS
            if starts and (not after or after in FUNCTION_WORDS):
                as_thing[singular(word)] += 1
    return frozenset(
        word
        for word, number in as_thing.items()
        if number >= _MIN_SEEN
        and number >= _MIN_SHARE * seen[word]
        and word not in COLOURS
        and word not in NUMBERS
        and word not in FUNCTION_WORDS
        and word not in NOT_THINGS
    )


def find_mistakes(
    caption: str, references: Sequence[str], *, things: frozenset[str]
) -> tuple[Mistake, ...]:
    """Return the mistakes of a caption, at most one of each kind.

    Args:
        caption: The model's caption.
        references: The human captions of the same image.
        things: Result of `learn_things`.
    """
    if not references or not things:
        return ()
    own = _read(caption, things)
    humans = [_read(text, things) for text in references]
    found = (_wrong_things(own, humans), _wrong_colour(own, humans), _wrong_count(own, humans))
    return tuple(mistake for mistake in found if mistake is not None)


def _wrong_things(own: _Named, humans: Sequence[_Named]) -> Mistake | None:
    named = Counter(thing for human in humans for thing in human.things)
    invented = sorted(own.things - named.keys())
    needed = max(1, -(-len(humans) // 2))
    missing = sorted(
        (thing for thing, number in named.items() if number >= needed and thing not in own.things),
        key=lambda thing: (-named[thing], thing),
    )
    if invented and missing:
        return Mistake("object", invented[0], missing[0])
    if missing:
        return Mistake("missing", "", missing[0])
    return Mistake("invented", invented[0], "") if invented else None


def _wrong_colour(own: _Named, humans: Sequence[_Named]) -> Mistake | None:
    pairs = Counter(pair for human in humans for pair in human.coloured)
    for colour, thing in sorted(own.coloured):
        known = [c for (c, t), _ in pairs.most_common() if t == thing]
        if known and colour not in known:
            return Mistake("colour", colour, known[0])
    named = Counter(colour for human in humans for colour in human.colours)
    unknown = sorted(own.colours - named.keys())
    wanted = [colour for colour, _ in named.most_common() if colour not in own.colours]
    return Mistake("colour", unknown[0], wanted[0]) if unknown and wanted else None


def _wrong_count(own: _Named, humans: Sequence[_Named]) -> Mistake | None:
    for thing, numbers in sorted(own.counted.items()):
        known = Counter(n for human in humans for n in human.counted.get(thing, ()))
        wrong = sorted(numbers - known.keys())
        if known and wrong:
            wanted = known.most_common(1)[0][0]
            return Mistake("count", NUMBER_WORDS[wrong[0]], NUMBER_WORDS[wanted])
    return None


def _read(caption: str, things: frozenset[str]) -> _Named:
    words = split_words(caption)
    objects = name_coco_objects(words)
    # "An orange square" names no fruit.
    classes = {name for _, name in objects} - {"orange"}
    known = {place for place, _ in objects}
    own = {
        singular(word)
        for place, word in enumerate(words)
        if place not in known and singular(word) in things
    }
    colours, coloured, counted = set(), set(), dict[str, set[int]]()
    for place, word in enumerate(words):
        if word not in COLOURS and word not in NUMBERS:
            continue
        thing = _thing_after(words, place, things)
        if word in COLOURS:
            colours.add(COLOURS[word])
            if thing:
                coloured.add((COLOURS[word], thing))
        elif thing:
            counted.setdefault(thing, set()).add(NUMBERS[word])
    return _Named(
        frozenset(classes | own),
        frozenset(colours),
        frozenset(coloured),
        {thing: frozenset(numbers) for thing, numbers in counted.items()},
    )


def _thing_after(words: Sequence[str], place: int, things: frozenset[str]) -> str:
    for word in words[place + 1 : place + 1 + _SPAN]:
        # "A couple of dogs" counts dogs.
        if word in FUNCTION_WORDS and word != "of":
            return ""
        if singular(word) in things:
            return singular(word)
    return ""
