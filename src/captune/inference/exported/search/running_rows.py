"""Searches in numpy of images that start and end at different steps, in one batch of rows.

The twin of `captune.inference.decoding.running`.
Shapes: B rows, K beams, V vocabulary, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from captune.inference.decoding.task import Hypothesis, SearchTask, is_worth_dropping
from captune.inference.exported.graphs import Array, Graph
from captune.inference.exported.search.beam_rows import BeamRows
from captune.inference.exported.search.branch_rows import BranchRows, Ints, NextScores
from captune.inference.exported.search.single_rows import SingleRows


@dataclass(slots=True)
class _Together:
    """Images that started together.

    Attributes:
        search: Their search.
        rows: int64, the row of each image.
        numbers: The number of each image.
    """

    search: BeamRows | SingleRows
    rows: Ints
    numbers: list[int]

    def advance(self, scores: NextScores) -> list[tuple[int, Hypothesis]]:
        """Advance by one token; return the numbers and captions of images that end now."""
        found = self.search.advance(scores)
        if not found:
            return []
        ended = [(self.numbers[row], hypothesis) for row, hypothesis in found.items()]
        kept = [row for row in range(len(self.numbers)) if row not in found]
        self.rows, self.numbers = self.rows[kept], [self.numbers[row] for row in kept]
        return ended

    def drop(self, number: int) -> None:
        """Drop an image that has not ended."""
        kept = [row for row, other in enumerate(self.numbers) if other != number]
        self.search.keep(np.array(kept, dtype=np.int64))
        self.rows, self.numbers = self.rows[kept], [self.numbers[row] for row in kept]


class RunningRows:
    """A batch of images being captioned, which takes new images while others continue."""

    def __init__(self, step: Graph, task: SearchTask, *, width: int) -> None:
        """Start without images.

        Args:
            step: The step graph.
            task: Settings of all searches; its image ids do not matter.
            width: D.
        """
        self._step_graph, self._task, self._width = step, task, width
        self._tree: BranchRows | None = None
        self._num_rows = 0
        self._together: list[_Together] = []
        self._next_number = 0

    @property
    def num_running(self) -> int:
        """Number of images whose captions have not ended."""
        return sum(len(one.numbers) for one in self._together)

    def add(
        self, image_ids: Sequence[str], image_keys: Sequence[Array]
    ) -> list[tuple[int, Hypothesis]]:
        """Add images; return those that end with their first token, by number.

        Images are numbered from 0 in the order in which they are added.

        Args:
            image_ids: Ids, which seed sampling.
            image_keys: Keys and values of the images. While others run they are copied; else they
                are read, and overwritten, as long as images run.
        """
        task, count = replace(self._task, image_ids=tuple(image_ids)), len(image_ids)
        last = len(task.prompt_ids) + task.max_new_tokens - 1
        fresh = BranchRows(self._step_graph, image_keys, width=self._width, last_position=last)
        scores = fresh.prefill(task.prompt_ids)
        numbers = list(range(self._next_number, self._next_number + count))
        self._next_number += count
        is_beams = task.config.num_beams > 1
        kind: type[BeamRows] | type[SingleRows] = BeamRows if is_beams else SingleRows
        added = _Together(kind(task), self._give_rows(fresh, count), numbers)
        self._together.append(added)
        return self._tidy(added.advance(scores))

    def step(self) -> list[tuple[int, Hypothesis]]:
        """Append a token to all captions; return those that end with it, by number."""
        assert self._tree is not None
        shape = (self._num_rows, self._task.config.num_beams)
        parents, token_ids = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        for one in self._together:
            parents[one.rows], token_ids[one.rows] = one.search.parents, one.search.token_ids
        scores = self._tree.grow(parents, token_ids)
        found: list[tuple[int, Hypothesis]] = []
        for one in self._together:
            is_all = len(one.rows) == self._num_rows
            found += one.advance(scores if is_all else scores.take(one.rows))
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
        """Drop the rows of ended images if that pays."""
        is_alive = self._alive_rows()
        if is_alive.any() and is_worth_dropping(is_alive):
            self._keep(is_alive)

    def tokens_so_far(self, number: int) -> tuple[int, ...]:
        """Return the tokens of a running image so far; none in beam search, which may change them.

        Args:
            number: Number of the image.
        """
        for one in self._together:
            if number in one.numbers and isinstance(one.search, SingleRows):
                return one.search.tokens_so_far(one.numbers.index(number))
        return ()

    def _give_rows(self, fresh: BranchRows, count: int) -> Ints:
        """Return the rows of new images, in place of ended ones if there are enough."""
        if not self.num_running:
            self._tree, self._num_rows = fresh, count
            return np.arange(count)
        assert self._tree is not None
        free = np.flatnonzero(~self._alive_rows())
        if count <= len(free):
            self._tree.forget(free)
            self._tree.replace(free[:count], fresh)
            return free[:count]
        if len(free):
            self._keep(self._alive_rows())
        self._tree.forget(np.arange(0))
        self._tree.extend(fresh)
        rows = np.arange(self._num_rows, self._num_rows + count)
        self._num_rows += count
        return rows

    def _keep(self, is_alive: npt.NDArray[np.bool_]) -> None:
        """Drop all rows but some, bool (B,), among them those of all running images."""
        assert self._tree is not None
        kept = np.flatnonzero(is_alive)
        self._tree.keep(kept)
        places = is_alive.cumsum() - 1
        for one in self._together:
            one.rows = places[one.rows]
        self._num_rows = len(kept)

    def _alive_rows(self) -> npt.NDArray[np.bool_]:
        """Return which rows have running images, bool (B,)."""
        is_alive = np.zeros(self._num_rows, dtype=np.bool_)
        for one in self._together:
            is_alive[one.rows] = True
        return is_alive

    def _tidy(self, found: list[tuple[int, Hypothesis]]) -> list[tuple[int, Hypothesis]]:
        """Forget searches without images, and the memory of the last one."""
        self._together = [one for one in self._together if one.numbers]
        if not self._together:
            self._tree, self._num_rows = None, 0
        return found
