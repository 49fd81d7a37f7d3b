"""Images while their rows are merged: a million of them without a million objects."""

from __future__ import annotations

import marshal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from captune.data.names.image_finder import ImageFinder
from captune.data.names.placing import Fault
from captune.data.record_store import ByteRows, MemoryCoder
from captune.records import ImageSource, Split

_MOST_LIVE = 4096


@dataclass(slots=True)
class GatheredImage:
    """An image with what its rows have given so far.

    Attributes:
        name: As the first row names it.
        image: The image itself, when a row gives it.
        fault: Why it cannot be used, when the reader knows.
        finder: Finds it; `None`: the data set's own finder does.
        captions: Its captions.
        splits: Its splits, usually one.
        group: Its group.
    """

    name: str
    image: ImageSource | None
    fault: Fault | None
    finder: ImageFinder | None
    captions: list[str] = field(default_factory=list)
    splits: list[Split] = field(default_factory=list)
    group: str | None = None


class GatheredImages(Mapping[str, GatheredImage]):
    """Images by key, in order of first appearance, of which only the latest are objects.

    The captions of an image need not be adjacent, so any image may be asked for again. It is an
    object until so many others have been asked for that it is written back as a row of bytes.
    """

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._rows = ByteRows()
        self._live: dict[str, GatheredImage] = {}
        self._coder = MemoryCoder()
        self._finders: dict[ImageFinder | None, int] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __getitem__(self, key: str) -> GatheredImage:
        image = self._live.get(key)
        return self._thaw(key, self._places[key]) if image is None else image

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def add(self, key: str, image: GatheredImage) -> None:
        """Add an image; it may be changed until as many others have been used as are kept."""
        self._places[key] = len(self._rows)
        self._rows.append(b"")
        self._live[key] = image
        self._freeze_oldest()

    def change(self, key: str) -> GatheredImage:
        """Return an image that may be changed, as after `add`."""
        image = self._live.get(key)
        if image is None:
            image = self._live[key] = self._thaw(key, self._places[key])
            self._freeze_oldest()
        return image

    def _freeze_oldest(self) -> None:
        if len(self._live) > _MOST_LIVE:
            for key in list(self._live)[: _MOST_LIVE // 2]:
                self._rows.replace(self._places[key], self._freeze(self._live.pop(key)))

    def _freeze(self, image: GatheredImage) -> bytes:
        source = None if image.image is None else self._coder.encode_source(image.image)
        finder = self._finders.setdefault(image.finder, len(self._finders))
        texts = (image.name, image.captions, image.splits, image.group)
        return marshal.dumps((texts, source, image.fault, finder))

    def _thaw(self, key: str, place: int) -> GatheredImage:
        row = self._rows[place]
        if not row:
            return self._live[key]
        (name, captions, splits, group), source, fault, finder = marshal.loads(row)
        image = None if source is None else self._coder.decode_source(source)
        finders = list(self._finders)
        return GatheredImage(name, image, fault, finders[finder], captions, splits, group)
