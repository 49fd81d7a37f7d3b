"""Which image is in which row of a batch whose images start and end at different steps.

A row whose image has ended takes a new image, so that the batch stays full: each step reads all
weights, however few rows are left. If fewer rows are free than images are added, rows are added.
Images that start together are one search; its tokens, and those of the other searches, are appended
in one pass. This is the same whether torch or numpy computes, so this module imports neither.
Shapes: B rows, K beams, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

from captune.inference.decoding.task import Hypothesis, SearchTask

_MAX_ALIVE = 0.75
"""Share of rows with running images up to which dropping the others pays: that copies the rows that
stay, which costs about as much as appending one step to the cache; a quarter fewer rows saves this
within one or two steps."""

_Scores_contra = TypeVar("_Scores_contra", contravariant=True)
_Scores = TypeVar("_Scores")
_Images = TypeVar("_Images")


class GroupSearch(Protocol[_Scores_contra]):
    """The search of images that start together; each is dropped when it ends."""

    def advance(self, scores: _Scores_contra, /) -> dict[int, Hypothesis]:
        """Append a token to each caption; return those that end with it, by row, and drop them."""

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all images except `rows`, indices of current images."""

    def tokens_so_far(self, row: int) -> tuple[int, ...]:
        """Return the generated tokens of an image that later steps will not change."""


_Search = TypeVar("_Search", bound=GroupSearch[Any])


@dataclass(slots=True)
class Together(Generic[_Search]):
    """Images that started together.

    Attributes:
        search: Their search.
        rows: The row of each image in the batch, ascending.
        numbers: The number of each image.
    """

    search: _Search
    rows: list[int]
    numbers: list[int]

    def advance(self, scores: Any) -> list[tuple[int, Hypothesis]]:
        """Advance by one token; return the numbers and captions of images that end now."""
        found = self.search.advance(scores)
        ended = [(self.numbers[place], hypothesis) for place, hypothesis in found.items()]
        if found:
            self._keep([place for place in range(len(self.numbers)) if place not in found])
        return ended

    def drop(self, number: int) -> None:
        """Drop an image that has not ended."""
        kept = [place for place, other in enumerate(self.numbers) if other != number]
        self.search.keep(kept)
        self._keep(kept)

    def _keep(self, places: Sequence[int]) -> None:
        self.rows = [self.rows[place] for place in places]
        self.numbers = [self.numbers[place] for place in places]


class RunningImages(ABC, Generic[_Search, _Images, _Scores]):
    """A batch of images being captioned, which takes new images while others continue.

    A subclass computes: it appends the tokens of `self._together` to B = `self._num_rows` rows.
    """

    def __init__(self, task: SearchTask) -> None:
        """Start without images.

        Args:
            task: Settings of all searches; its image ids do not matter.
        """
        self._task = task
        self._together: list[Together[_Search]] = []
        self._num_rows = self._next_number = 0

    @property
    def num_running(self) -> int:
        """Number of images whose captions have not ended."""
        return sum(len(one.numbers) for one in self._together)

    @property
    def num_free(self) -> int:
        """Number of rows whose images have ended."""
        return self._num_rows - self.num_running

    def add(self, image_ids: Sequence[str], images: _Images) -> list[tuple[int, Hypothesis]]:
        """Add images; return those that end with their first token, by number.

        Images are numbered from 0 in the order in which they are added.

        Args:
            image_ids: Ids, which seed sampling.
            images: As `_start` takes them. If fewer rows are free, rows are added.
        """
        count = len(image_ids)
        if not self.num_running:
            rows, self._num_rows = list(range(count)), count
            scores = self._start(images)
        elif count <= self.num_free:
            rows = self._free_rows()[:count]
            scores = self._replace(rows, images)
        else:
            if self.num_free:
                self._drop_free()
            rows = list(range(self._num_rows, self._num_rows + count))
            self._num_rows += count
            scores = self._extend(images)
        numbers = list(range(self._next_number, self._next_number + count))
        self._next_number += count
        search = self._open(replace(self._task, image_ids=tuple(image_ids)))
        added = Together(search, rows, numbers)
        self._together.append(added)
        return self._tidy(added.advance(scores))

    def step(self) -> list[tuple[int, Hypothesis]]:
        """Append a token to all captions; return those that end with it, by number."""
        scores = self._grow()
        found: list[tuple[int, Hypothesis]] = []
        for one in self._together:
            is_all = len(one.rows) == self._num_rows
            found += one.advance(scores if is_all else self._take(scores, one.rows))
        return self._tidy(found)

    def drop(self, number: int) -> None:
        """Stop an image that has not ended; its row becomes free.

        Args:
            number: Number of the image.
        """
        for one in self._together:
            if number in one.numbers:
                one.drop(number)
        self._tidy([])

    def drop_free_rows(self) -> None:
        """Drop the rows of ended images if that pays: no others will take them."""
        if 0 < self.num_running <= _MAX_ALIVE * self._num_rows:
            self._drop_free()

    def tokens_so_far(self, number: int) -> tuple[int, ...]:
        """Return the tokens of a running image so far; none in beam search, which may change them.

        Args:
            number: Number of the image.
        """
        for one in self._together:
            if number in one.numbers:
                return one.search.tokens_so_far(one.numbers.index(number))
        return ()

    # Implemented for each runtime.

    @abstractmethod
    def _open(self, task: SearchTask) -> _Search:
        """Return the search of a task's images, before their first token."""

    @abstractmethod
    def _start(self, images: _Images) -> _Scores:
        """Start B rows with images; return the scores (B, 1, V) after their prompt."""

    @abstractmethod
    def _replace(self, rows: Sequence[int], images: _Images) -> _Scores:
        """Give free rows to n new images; return the scores (n, 1, V) after their prompt."""

    @abstractmethod
    def _extend(self, images: _Images) -> _Scores:
        """Append rows of n new images; return the scores (n, 1, V) after their prompt."""

    @abstractmethod
    def _grow(self) -> _Scores:
        """Append the last token of each branch; return the scores (B, K, V) of the next one."""

    @abstractmethod
    def _take(self, scores: _Scores, rows: Sequence[int]) -> _Scores:
        """Return the scores of some rows."""

    @abstractmethod
    def _keep(self, rows: Sequence[int]) -> None:
        """Drop all rows except these."""

    @abstractmethod
    def _end(self) -> None:
        """Free the memory of the rows: no images are running."""

    # Shared by all runtimes.

    def _free_rows(self) -> list[int]:
        """Return the rows without running images."""
        taken = {row for one in self._together for row in one.rows}
        return [row for row in range(self._num_rows) if row not in taken]

    def _drop_free(self) -> None:
        """Drop the rows of ended images."""
        kept = sorted(row for one in self._together for row in one.rows)
        self._keep(kept)
        places = {row: place for place, row in enumerate(kept)}
        for one in self._together:
            one.rows = [places[row] for row in one.rows]
        self._num_rows = len(kept)

    def _tidy(self, found: list[tuple[int, Hypothesis]]) -> list[tuple[int, Hypothesis]]:
        """Forget searches without images, and the memory of the last one."""
        self._together = [one for one in self._together if one.numbers]
        if not self._together:
            self._end()
            self._num_rows = 0
        return found
