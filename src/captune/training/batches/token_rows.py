"""Token ids of all captions in one array, and image ids that are read on access.

Tuples of Python integers take 50 bytes per token, and reference counting copies them into every
worker process; these arrays take 4 bytes per token and are shared.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np
import numpy.typing as npt

from captune.records import CaptionRecord

Row = list[tuple[int, ...]]
"""The token ids of an image's captions."""


class TokenRows(Sequence[Row]):
    """The token ids of each image's captions, converted to tuples on access."""

    def __init__(
        self,
        token_ids: npt.NDArray[np.int32],
        caption_ends: npt.NDArray[np.int64],
        image_ends: npt.NDArray[np.int64],
    ) -> None:
        """Store the arrays.

        Args:
            token_ids: Token ids of all captions, concatenated.
            caption_ends: End of each caption in `token_ids`.
            image_ends: End of each image in `caption_ends`.
        """
        self._token_ids = token_ids
        self._captions = np.concatenate([[0], caption_ends])
        self._images = np.concatenate([[0], image_ends])

    @classmethod
    def of(cls, rows: Iterable[Sequence[Sequence[int]]]) -> TokenRows:
        """Return rows of token ids, stored in arrays."""
        token_ids, caption_ends, image_ends = array("i"), array("q"), array("q")
        for row in rows:
            for caption in row:
                token_ids.extend(caption)
                caption_ends.append(len(token_ids))
            image_ends.append(len(caption_ends))
        return cls(
            np.array(token_ids, np.int32),
            np.array(caption_ends, np.int64),
            np.array(image_ends, np.int64),
        )

    def __len__(self) -> int:
        return len(self._images) - 1

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> list[Row]: ...
    def __getitem__(self, place: int | slice) -> Row | list[Row]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(f"no image {place} of {len(self)}")
        place = int(place) % len(self)
        first, last = self._images[place], self._images[place + 1]
        edges = self._captions[first : last + 1].tolist()
        ids = self._token_ids[edges[0] : edges[-1]].tolist()
        start = edges[0]
        return [tuple(ids[edges[n] - start : edges[n + 1] - start]) for n in range(len(edges) - 1)]

    @property
    def num_captions(self) -> int:
        """Total number of captions."""
        return len(self._captions) - 1

    @property
    def row_lengths(self) -> list[int]:
        """Number of tokens of each image's captions together."""
        lengths: list[int] = np.diff(self._captions[self._images]).tolist()
        return lengths


class ImageIds(Sequence[str]):
    """The ids of records, each read from its record on access."""

    def __init__(self, records: Sequence[CaptionRecord]) -> None:
        self._records = records

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [record.image_id for record in self._records[place]]
        return self._records[place].image_id
