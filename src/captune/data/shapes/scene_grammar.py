"""Parse a caption of a scene into claims: what is there, where, how many, beside what.

A small hand-written parser over the words of the built-in captions, freer in their order than
the captions themselves, because a model words things its own way. What it cannot read is not
a caption.

    caption  = clause { ("and" | "," | ", and" | ":") clause }
    clause   = [place] ["there" be] thing { place | relation thing | be (property | place) }
             | relation thing | place | property        (said of the last subject)
    thing    = ("a" | "an" | "the" | number) { size | colour } shape
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from captune.data.shapes.scene_captions import NUMBERS
from captune.data.shapes.scenes import COLOURS, SHAPES, SIZES

_TOKEN = re.compile(r"[a-z]+|[^\sa-z]")
_OPENINGS = (("there", "is"), ("there", "are"))
_DIRECTIONS = ("top", "bottom", "left", "right", "middle")
_MAX_TOKENS = 80


@dataclass(slots=True)
class Mention:
    """Objects that a caption mentions in one phrase.

    Attributes:
        number: How many objects.
        is_exact: The caption states the exact number.
        is_new: Not an object mentioned before ("a"); else it may be one ("the").
        properties: Sizes, colours and shapes of each object.
        places: Words such as `top`, `left` that hold for each object.
    """

    number: int
    is_exact: bool
    is_new: bool
    properties: set[str] = field(default_factory=set)
    places: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Relation:
    """Each object of one mention is `kind` (left, right, above, below) of each of another."""

    kind: str
    subject: Mention
    object: Mention


@dataclass(slots=True)
class Claims:
    """All that a caption states."""

    mentions: list[Mention] = field(default_factory=list)
    relations: list[Relation] = field(default_factory=list)


class UnreadableError(ValueError):
    """A caption outside the grammar."""


def parse_caption(caption: str) -> Claims:
    """Parse the claims of a caption.

    Raises:
        UnreadableError: It is outside the grammar.
    """
    tokens = _TOKEN.findall(caption.lower())
    while tokens and tokens[-1] == ".":
        tokens.pop()
    if not tokens or len(tokens) > _MAX_TOKENS:
        raise UnreadableError(caption)
    return _Parser(tokens).read_caption()


class _Parser:
    """One pass over the tokens, left to right, with one clause's subject in mind."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._at = 0
        self._claims = Claims()
        self._subject: Mention | None = None
        self._has_predicate = False

    def read_caption(self) -> Claims:
        self._read_clause()
        while self._at < len(self._tokens):
            self._read_separator()
            self._read_clause()
        return self._claims

    def _read_separator(self) -> None:
        if self._accept(",") or self._accept(":"):
            self._accept("and")
        elif not self._accept("and"):
            raise UnreadableError(self._peek())

    def _read_clause(self) -> None:
        if self._subject is not None and self._continue_subject(self._subject):
            return
        places = self._read_place()
        opened = any(self._accept(*words) for words in _OPENINGS)
        if places and not opened:
            # "in the top left is a red circle"
            opened = self._accept("is") or self._accept("are")
        if places and not opened and self._subject is not None and not self._starts_thing():
            self._subject.places |= places
            return
        self._subject = thing = self._read_thing()
        self._has_predicate = False
        thing.places |= places
        self._read_tails(thing)

    def _continue_subject(self, subject: Mention) -> bool:
        relation = self._read_relation()
        if relation:
            self._relate(relation, subject)
            return True
        if self._has_predicate and self._peek() in (*SIZES, *COLOURS):
            subject.properties.add(self._take())
            return True
        return False

    def _read_tails(self, thing: Mention) -> None:
        nearest = thing
        while True:
            if self._accept("is") or self._accept("are"):
                if nearest is not thing or self._has_predicate:
                    raise UnreadableError("is")
                self._has_predicate = True
                if self._peek() in (*SIZES, *COLOURS):
                    thing.properties.add(self._take())
                    continue
                if self._peek() in ("", ",", "and", ":"):
                    raise UnreadableError("is")
            relation = self._read_relation()
            if relation:
                nearest = self._relate(relation, nearest)
                continue
            places = self._read_place()
            if not places:
                return
            nearest.places |= places

    def _relate(self, kind: str, subject: Mention) -> Mention:
        thing = self._read_thing()
        self._claims.relations.append(Relation(kind, subject, thing))
        return thing

    def _read_thing(self) -> Mention:
        determiner = self._take()
        if determiner not in ("a", "an", "the", *NUMBERS):
            raise UnreadableError(determiner)
        number = NUMBERS.get(determiner, 1)
        properties = set()
        while self._peek() in (*SIZES, *COLOURS):
            properties.add(self._take())
        noun = self._take()
        singular = noun.removesuffix("s") if number > 1 else noun
        if singular not in (*SHAPES, "shape") or (number > 1) != noun.endswith("s"):
            raise UnreadableError(noun)
        if singular != "shape":
            properties.add(singular)
        # "two shapes: ..." counts what is then listed; it adds nothing to it.
        is_heading = determiner in NUMBERS and (singular == "shape" or self._peek() == ":")
        mention = Mention(
            number=number,
            is_exact=determiner in NUMBERS,
            is_new=determiner != "the" and not is_heading,
            properties=properties,
        )
        self._claims.mentions.append(mention)
        return mention

    def _read_place(self) -> set[str]:
        start = self._at
        if not (self._accept("in") or self._accept("at") or self._accept("on")):
            return set()
        if not self._accept("the"):
            raise UnreadableError("the")
        places = set()
        while self._peek() in _DIRECTIONS:
            places.add(self._take())
        self._accept("corner")
        if not places or self._peek() == "of":
            self._at = start
            raise UnreadableError(self._peek())
        return places

    def _read_relation(self) -> str:
        if self._peek() in ("above", "below"):
            return self._take()
        for side in ("left", "right"):
            for words in ((side, "of"), ("to", "the", side, "of"), ("on", "the", side, "of")):
                if self._accept(*words):
                    return side
        return ""

    def _starts_thing(self) -> bool:
        return self._peek() in ("a", "an", "the", *NUMBERS)

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._peek()
        self._at += 1
        return token

    def _accept(self, *words: str) -> bool:
        if tuple(self._tokens[self._at : self._at + len(words)]) != words:
            return False
        self._at += len(words)
        return True
