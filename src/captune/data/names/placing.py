"""Where the image of each record is: its exact file, else the only file that its name can mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from captune.data.names.image_finder import ImageFinder
from captune.data.names.loose_names import Guess
from captune.records import ImageSource

Fault = tuple[str, str]
"""Why an image cannot be used: one word, and details."""

OUTSIDE = "outside"
_MAX_NEAR_MISSES = 3


class Wanted(Protocol):
    """An image that a data set names."""

    @property
    def name(self) -> str:
        """Its name in the data set."""

    @property
    def image(self) -> ImageSource | None:
        """The image itself, when the data set gives it."""

    @property
    def fault(self) -> Fault | None:
        """Why it cannot be used, when that is known."""

    @property
    def finder(self) -> ImageFinder | None:
        """Finds it; `None`: the data set's own finder does."""


@dataclass(slots=True)
class Places:
    """Where images are.

    Attributes:
        sources: By key, the images that were found.
        faults: By key, why the others cannot be used.
        notes: How images were found whose name had no exact match.
        near_misses: By missing name, an existing file that looks like it, for the first few.
    """

    sources: dict[str, ImageSource] = field(default_factory=dict)
    faults: dict[str, Fault] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    near_misses: dict[str, str] = field(default_factory=dict)


def place_images(images: Mapping[str, Wanted], finder: ImageFinder) -> Places:
    """Find the file of each image.

    Args:
        images: What is wanted, by key.
        finder: Finds the images whose row has no finder of its own.
    """
    places = Places()
    unplaced: dict[str, Wanted] = {}
    for key, image in images.items():
        own = image.finder or finder
        if image.fault is not None:
            places.faults[key] = image.fault
        elif image.image is not None:
            places.sources[key] = image.image
        elif (found := own.find(image.name)) is None:
            unplaced[key] = image
        elif (rival := own.find_rival(image.name, found)) is not None:
            places.faults[key] = _ambiguous(found, rival)
        else:
            places.sources[key] = found
    _guess_places(unplaced, places, finder=finder)
    places.notes += _note_links(images, places, finder=finder)
    return places


def _guess_places(unplaced: Mapping[str, Wanted], places: Places, *, finder: ImageFinder) -> None:
    guesses: dict[str, Guess] = {}
    claims: dict[Path, list[str]] = {}
    for key, image in unplaced.items():
        guess = None if _is_address(image.name) else (image.finder or finder).guess(image.name)
        if guess is None:
            places.faults[key] = _explain_absence(image, places, finder=image.finder or finder)
            continue
        if len(guess.paths) > 1:
            places.faults[key] = _ambiguous(*guess.paths[:2])
            continue
        guesses[key] = guess
        claims.setdefault(guess.paths[0], []).append(image.name)
    taken = {source for source in places.sources.values() if isinstance(source, Path)}
    ways: dict[str, list[str]] = {}
    for key, guess in guesses.items():
        (path,), name = guess.paths, unplaced[key].name
        others = [other for other in claims[path] if other != name]
        if others or path in taken:
            detail = f"{path} could be this image, but is {others[0] if others else 'another'}"
            places.faults[key] = ("ambiguous", detail)
            continue
        places.sources[key] = path
        ways.setdefault(guess.how, []).append(f"{name!r} is {path}")
    places.notes += [
        f"{_count_images(len(found))} found by {how} (the first: {found[0]})"
        for how, found in ways.items()
    ]


def _explain_absence(image: Wanted, places: Places, *, finder: ImageFinder) -> Fault:
    if _is_address(image.name):
        return "remote", ""
    if finder.is_outside(image.name):
        return OUTSIDE, "the name leads out of the data set's folder"
    if len(places.near_misses) < _MAX_NEAR_MISSES:
        near = finder.find_near_miss(image.name)
        if near is not None:
            places.near_misses[image.name] = near
    return "missing", finder.describe()


def _note_links(images: Mapping[str, Wanted], places: Places, *, finder: ImageFinder) -> list[str]:
    """Return how many images are elsewhere, through links inside the data set's folder."""
    outside = [
        source
        for key, source in places.sources.items()
        if isinstance(source, Path)
        and images[key].image is None
        and (images[key].finder or finder).leads_outside(source)
    ]
    if not outside:
        return []
    number = _count_images(len(outside))
    return [
        f"{number} read through links that lead out of the data set's folder"
        f" (the first: {outside[0]} is {outside[0].resolve()})"
    ]


def _ambiguous(one: Path, other: Path) -> Fault:
    return "ambiguous", f"{one} and {other} are different images with one name"


def _is_address(name: str) -> bool:
    return name.startswith(("http://", "https://"))


def _count_images(number: int) -> str:
    return f"{number} image{' was' if number == 1 else 's were'}"
