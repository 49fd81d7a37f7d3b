"""Where the image of each record is: its exact file, else the only file that its name can mean."""

from __future__ import annotations

import marshal
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from captune.data.names.image_finder import ImageFinder
from captune.data.names.loose_names import Guess
from captune.data.record_store import ByteRows, MemoryCoder
from captune.records import ImageSource
from captune.suggest import format_count

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
        found: Where each image is, in their order; an empty row: it was not found.
        coder: Reads and writes those rows.
        faults: By key, why the others cannot be used.
        notes: How images were found whose name had no exact match.
        near_misses: By missing name, an existing file that looks like it, for the first few.
        num_linked: Images read through links that lead out of the data set's folder.
        first_linked: The first of them.
    """

    found: ByteRows = field(default_factory=ByteRows)
    coder: MemoryCoder = field(default_factory=MemoryCoder)
    faults: dict[str, Fault] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    near_misses: dict[str, str] = field(default_factory=dict)
    num_linked: int = 0
    first_linked: Path | None = None

    def source(self, place: int) -> ImageSource | None:
        """Return where the image at a position is; `None`: it was not found."""
        row = self.found[place]
        return self.coder.decode_source(marshal.loads(row)) if row else None

    def add(self, source: ImageSource | None) -> None:
        """Add where the next image is."""
        self.found.append(b"" if source is None else self._encode(source))

    def replace(self, place: int, source: ImageSource) -> None:
        """Set where an image is that was not found at first."""
        self.found.replace(place, self._encode(source))

    def _encode(self, source: ImageSource) -> bytes:
        return marshal.dumps(self.coder.encode_source(source))


def place_images(images: Mapping[str, Wanted], finder: ImageFinder) -> Places:
    """Find the file of each image.

    Args:
        images: What is wanted, by key.
        finder: Finds the images whose row has no finder of its own.
    """
    places = Places()
    unplaced: dict[str, tuple[int, Wanted]] = {}
    for place, (key, image) in enumerate(images.items()):
        own, source = image.finder or finder, None
        if image.fault is not None:
            places.faults[key] = image.fault
        elif image.image is not None:
            source = image.image
        elif (found := own.find(image.name)) is None:
            unplaced[key] = place, image
        elif (rival := own.find_rival(image.name, found)) is not None:
            places.faults[key] = _ambiguous(found, rival)
        else:
            source = found
            _count_link(found, places, finder=own)
        places.add(source)
    _guess_places(unplaced, places, finder=finder)
    places.notes += _note_links(places)
    return places


def _guess_places(
    unplaced: Mapping[str, tuple[int, Wanted]], places: Places, *, finder: ImageFinder
) -> None:
    guesses: dict[str, Guess] = {}
    claims: dict[Path, list[str]] = {}
    for key, (_, image) in unplaced.items():
        guess = None if _is_address(image.name) else (image.finder or finder).guess(image.name)
        if guess is None:
            places.faults[key] = _explain_absence(image, places, finder=image.finder or finder)
            continue
        if len(guess.paths) > 1:
            places.faults[key] = _ambiguous(*guess.paths[:2])
            continue
        guesses[key] = guess
        claims.setdefault(guess.paths[0], []).append(image.name)
    sources = map(places.source, range(len(places.found) if guesses else 0))
    taken = {source for source in sources if isinstance(source, Path) and source in claims}
    ways: dict[str, list[str]] = {}
    for key, guess in guesses.items():
        (path,), (place, image) = guess.paths, unplaced[key]
        others = [other for other in claims[path] if other != image.name]
        if others or path in taken:
            detail = f"{path} could be this image, but is {others[0] if others else 'another'}"
            places.faults[key] = ("ambiguous", detail)
            continue
        places.replace(place, path)
        _count_link(path, places, finder=image.finder or finder)
        ways.setdefault(guess.how, []).append(f"{image.name!r} is {path}")
    places.notes += [
        f"{format_count(len(found), 'image')} found by {how} (the first: {found[0]})"
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


def _count_link(path: Path, places: Places, *, finder: ImageFinder) -> None:
    if finder.leads_outside(path):
        places.num_linked += 1
        places.first_linked = places.first_linked or path


def _note_links(places: Places) -> list[str]:
    """Return how many images are elsewhere, through links inside the data set's folder."""
    if places.first_linked is None:
        return []
    return [
        f"{format_count(places.num_linked, 'image')} read through links that lead out of the data"
        f" set's folder (the first: {places.first_linked} is {places.first_linked.resolve()})"
    ]


def _ambiguous(one: Path, other: Path) -> Fault:
    return "ambiguous", f"{one} and {other} are different images with one name"


def _is_address(name: str) -> bool:
    # Of any protocol, as s3://bucket/a.jpg, except a file's, which is a path. Letter case does not
    # matter.
    return re.match(r"(?!file:)[a-z][a-z0-9+.-]*://", name, re.IGNORECASE) is not None
