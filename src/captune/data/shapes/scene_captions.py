"""Five true captions of a scene, each worded differently, from about 35 words."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from captune.data.shapes.scenes import COLUMNS, ROWS, Scene, SceneObject

NUMBERS = {"one": 1, "two": 2, "three": 3}
_WORDS = {number: word for word, number in NUMBERS.items()}


def describe_scene(scene: Scene) -> tuple[str, str, str, str, str]:
    """Write five true captions; each gives colour and shape of every object it mentions.

    Objects come in reading order, so that a model can know which is next.
    """
    things = scene.objects
    if len(things) == 1:
        return _describe_one(things[0])
    placed = [f"{_with_article(_plain(thing))} {_place(thing)}" for thing in things[:2]]
    return (
        _list_things(things, name=_full),
        f"there is {placed[0]} and {placed[1]}",
        f"{_WORDS[len(things)]} shapes: {_list_things(things, name=_plain)}",
        _relate(things, things[0], things[-1]),
        _relate_back(things, things[-2], things[-1]),
    )


def _describe_one(thing: SceneObject) -> tuple[str, str, str, str, str]:
    return (
        f"a {_full(thing)}",
        f"there is {_with_article(_plain(thing))} {_place(thing)}",
        f"one shape: a {_full(thing)}",
        f"the {_plain(thing)} is {thing.size} and {_place(thing)}",
        f"{_place(thing)} there is a {_full(thing)}",
    )


def _full(thing: SceneObject) -> str:
    return f"{thing.size} {thing.colour} {thing.shape}"


def _plain(thing: SceneObject) -> str:
    return f"{thing.colour} {thing.shape}"


def _place(thing: SceneObject) -> str:
    if thing.row == thing.column == 1:
        return "in the middle"
    return f"in the {ROWS[thing.row]} {COLUMNS[thing.column]}"


def _with_article(phrase: str) -> str:
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def _list_things(things: Sequence[SceneObject], *, name: Callable[[SceneObject], str]) -> str:
    counts: dict[str, int] = {}
    for thing in things:
        counts[name(thing)] = counts.get(name(thing), 0) + 1
    phrases = [
        _with_article(phrase) if number == 1 else f"{_WORDS[number]} {phrase}s"
        for phrase, number in counts.items()
    ]
    if len(phrases) == 1:
        return phrases[0]
    return ", ".join(phrases[:-1]) + " and " + phrases[-1]


def _relate(things: Sequence[SceneObject], first: SceneObject, second: SceneObject) -> str:
    """`first` precedes `second` in reading order: it is above it, or left of it in one row."""
    if _plain(first) == _plain(second):
        return _count_alike(things, first, name=_plain)
    relation = "above" if first.row < second.row else "left of"
    return f"{_with_article(_plain(first))} {relation} {_with_article(_plain(second))}"


def _relate_back(things: Sequence[SceneObject], first: SceneObject, second: SceneObject) -> str:
    if _full(first) == _full(second):
        return _count_alike(things, first, name=_full)
    relation = "below" if first.row < second.row else "right of"
    return f"the {_full(second)} is {relation} the {_full(first)}"


def _count_alike(
    things: Sequence[SceneObject], thing: SceneObject, *, name: Callable[[SceneObject], str]
) -> str:
    number = sum(name(other) == name(thing) for other in things)
    return f"there are {_WORDS[number]} {name(thing)}s"
