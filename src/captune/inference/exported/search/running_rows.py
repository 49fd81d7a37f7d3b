"""Searches in numpy of images that start and end at different steps, in one batch of rows.

Shapes: B rows, K beams, V vocabulary, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from captune.inference.decoding.task import SearchTask
from captune.inference.decoding.together import RunningImages
from captune.inference.exported.graphs import Array, Graph
from captune.inference.exported.search.beam_rows import BeamRows
from captune.inference.exported.search.branch_rows import BranchRows, NextScores
from captune.inference.exported.search.single_rows import SingleRows


class RunningRows(RunningImages[BeamRows | SingleRows, Sequence[Array], NextScores]):
    """See `RunningImages`; images are their keys and values.

    While others run these are copied; else they are read, and overwritten, as long as images run.
    """

    def __init__(self, step: Graph, task: SearchTask, *, width: int) -> None:
        """Start without images.

        Args:
            step: The step graph.
            task: Settings of all searches; its image ids do not matter.
            width: D.
        """
        super().__init__(task)
        self._step_graph, self._width = step, width
        self._tree: BranchRows | None = None

    def _open(self, task: SearchTask) -> BeamRows | SingleRows:
        return BeamRows(task) if task.config.num_beams > 1 else SingleRows(task)

    def _start(self, images: Sequence[Array]) -> NextScores:
        self._tree, scores = self._read_prompt(images)
        return scores

    def _replace(self, rows: Sequence[int], images: Sequence[Array]) -> NextScores:
        assert self._tree is not None
        fresh, scores = self._read_prompt(images)
        self._tree.forget(np.array(self._free_rows()))
        self._tree.replace(np.array(rows), fresh)
        return scores

    def _extend(self, images: Sequence[Array]) -> NextScores:
        assert self._tree is not None
        fresh, scores = self._read_prompt(images)
        # No row is free, but places that dropped rows saw may be.
        self._tree.forget(np.arange(0))
        self._tree.extend(fresh)
        return scores

    def _grow(self) -> NextScores:
        assert self._tree is not None
        shape = (self._num_rows, self._task.config.num_beams)
        parents, token_ids = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        for one in self._together:
            parents[one.rows], token_ids[one.rows] = one.search.parents, one.search.token_ids
        return self._tree.grow(parents, token_ids)

    def _take(self, scores: NextScores, rows: Sequence[int]) -> NextScores:
        return scores.take(np.array(rows))

    def _keep(self, rows: Sequence[int]) -> None:
        assert self._tree is not None
        self._tree.keep(np.array(rows))

    def _end(self) -> None:
        self._tree = None

    def _read_prompt(self, images: Sequence[Array]) -> tuple[BranchRows, NextScores]:
        """Return rows of new images and the scores (n, 1, V) after their prompt."""
        prompt = self._task.prompt_ids
        last = len(prompt) + self._task.max_new_tokens - 1
        fresh = BranchRows(self._step_graph, images, width=self._width, last_position=last)
        return fresh, fresh.prefill(prompt)
