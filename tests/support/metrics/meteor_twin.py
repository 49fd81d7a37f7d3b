"""METEOR's statistics, the slow and obvious way: dictionaries, one pair and one path at a time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import product

from captune.metrics.meteor.stem import stem

BEAM = 40
ENDINGS = [
    *[("s", ""), ("men", "man"), ("ies", "y"), ("es", "")],
    *[("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")],
    *[("er", ""), ("est", ""), ("er", "e"), ("est", "e")],
]


@dataclass(frozen=True)
class Match:
    matcher: int
    ours: int
    theirs: int
    our_length: int = 1
    their_length: int = 1


@dataclass
class Path:
    ours: int = 0
    theirs: int = 0
    chunks: int = 0
    distance: int = 0
    expected: int | None = None
    free: int = 0
    taken: tuple[Match, ...] = ()
    used: frozenset[int] = field(default_factory=frozenset)

    def rank(self) -> tuple[int, int, int]:
        return -(self.ours + self.theirs), self.chunks, self.distance


class Twin:
    def __init__(
        self,
        *,
        synsets: dict[str, list[int]],
        irregular: dict[str, list[str]],
        function: list[str],
        paraphrases: list[tuple[str, str]],
    ) -> None:
        self.synsets = synsets
        self.bases: dict[str, list[str]] = {}
        for base, forms in irregular.items():
            for form in forms:
                self.bases.setdefault(form, []).append(base)
        self.function = set(function)
        self.rules: dict[str, list[str]] = {}
        for source, target in paraphrases:
            self.rules.setdefault(source, []).append(target)

    def senses(self, word: str) -> set[int]:
        forms = [word, *self.bases.get(word, [])]
        if word not in self.bases and len(word) > 2 and not word.endswith("ss"):
            regular = [word[: -len(end)] + base for end, base in ENDINGS if word.endswith(end)]
            forms += [form for form in regular if form in self.synsets][:1]
        return {sense for form in forms for sense in self.synsets.get(form, [])}

    def match(self, ours: list[str], theirs: list[str]) -> list[Match]:
        places = list(product(range(len(theirs)), range(len(ours))))
        exact = [Match(0, i, j) for j, i in places if same(ours[i], theirs[j])]
        if len(ours) == len(theirs) and all(map(same, ours, theirs)):
            return exact
        other = [(j, i) for j, i in places if not same(ours[i], theirs[j])]
        stems = [Match(1, i, j) for j, i in other if same(stem(ours[i]), stem(theirs[j]))]
        senses = [Match(2, i, j) for j, i in other if self.senses(ours[i]) & self.senses(theirs[j])]
        backward = [
            Match(3, i, j, ours_n, theirs_n)
            for j, theirs_n, phrase in spans(theirs)
            for target in self.rules.get(phrase, [])
            for i, ours_n, candidate in spans(ours)
            if candidate == target
        ]
        forward = [
            Match(3, i, j, ours_n, theirs_n)
            for i, ours_n, phrase in spans(ours)
            for target in self.rules.get(phrase, [])
            for j, theirs_n, candidate in spans(theirs)
            if candidate == target
        ]
        return exact + stems + senses + backward + forward

    def align(self, ours: list[str], theirs: list[str]) -> tuple[Match, ...]:
        matches = self.match(ours, theirs)
        paths = [Path()]
        for word in range(len(theirs)):
            here = [match for match in matches if match.theirs == word]
            fixed = next((match for match in here if lonely(match, matches)), None)
            paths = [
                branch
                for path in paths
                for branch in branch_off(path, word, here=here, fixed=fixed)
            ]
            paths = sorted(paths, key=Path.rank)[:BEAM]
        for path in paths:
            path.chunks += path.expected is not None
        return min(paths, key=Path.rank).taken

    def statistics(self, ours: list[str], theirs: list[str]) -> list[int]:
        numbers = [0] * 23
        numbers[:2] = len(ours), len(theirs)
        numbers[2:4] = (sum(word in self.function for word in side) for side in (ours, theirs))
        ended = None
        for match in self.align(ours, theirs):
            for side, words, start, length in (
                (0, ours, match.ours, match.our_length),
                (1, theirs, match.theirs, match.their_length),
            ):
                for word in words[start : start + length]:
                    numbers[4 + 4 * match.matcher + side + 2 * (word in self.function)] += 1
                numbers[21 + side] += length
            numbers[20] += (match.ours, match.theirs) != ended
            ended = (match.ours + match.our_length, match.theirs + match.their_length)
        return numbers


def same(left: str, right: str) -> bool:
    return java_hash(left) == java_hash(right)


def java_hash(word: str) -> int:
    value = 0
    for letter in word:
        value = (31 * value + ord(letter)) % 2**32
    return value


def spans(words: list[str]) -> list[tuple[int, int, str]]:
    return [
        (start, length, " ".join(words[start : start + length]))
        for start in range(len(words))
        for length in range(1, min(7, len(words) - start) + 1)
    ]


def lonely(match: Match, matches: list[Match]) -> bool:
    return not any(
        other is not match
        and (
            (
                other.ours < match.ours + match.our_length
                and match.ours < other.ours + other.our_length
            )
            or (
                other.theirs < match.theirs + match.their_length
                and match.theirs < other.theirs + other.their_length
            )
        )
        for other in matches
    )


def branch_off(path: Path, word: int, *, here: list[Match], fixed: Match | None) -> list[Path]:
    if path.free > word:
        return [path]
    if fixed is not None:
        child = take(path, fixed)
        child.distance += abs(fixed.ours - fixed.theirs)
        return [child]
    branches = []
    for match in here:
        words = set(range(match.ours, match.ours + match.our_length))
        if not words & path.used:
            branches.append(take(path, match))
            # The jar charges the distance to the abandoned path.
            path.distance += abs(match.ours - match.theirs)
    closed = path.chunks + (path.expected is not None)
    return [*branches, replace(path, chunks=closed, expected=None, free=word + 1)]


def take(path: Path, match: Match) -> Path:
    weight = 1 if match.matcher == 0 else 0.5
    broken = path.expected is not None and path.expected != match.ours
    end = match.ours + match.our_length
    return replace(
        path,
        ours=int(path.ours + match.our_length * weight),
        theirs=int(path.theirs + match.their_length * weight),
        chunks=path.chunks + broken,
        expected=end,
        free=match.theirs + match.their_length,
        taken=(*path.taken, match),
        used=path.used | set(range(match.ours, end)),
    )
