"""Searches of images that start and end at different steps, in one batch of rows.

A row whose image has ended takes a new image, so that the batch stays full: each step reads all
weights, however few rows are left. If fewer rows are free than images are added, rows are added.
Images that start together are one search; its tokens, and those of the other searches, are appended
in one pass.
Shapes: B rows, K beams, S vision states, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from captune.inference.decoding.backend import DecodingBackend
from captune.inference.decoding.beams import BeamSearch
from captune.inference.decoding.greedy import SingleSearch
from captune.inference.decoding.task import Hypothesis, SearchTask, is_worth_dropping
from captune.inference.decoding.token_tree import TokenTree


@dataclass(slots=True)
class _Together:
    """Images that started together.

    Attributes:
        search: Their search.
        rows: int64 on the CPU, the row of each image in the tree.
        numbers: The number of each image.
    """

    search: BeamSearch | SingleSearch
    rows: torch.Tensor
    numbers: list[int]

    def advance(self, logits: torch.Tensor) -> list[tuple[int, Hypothesis]]:
        """Advance by one token; return the numbers and captions of images that end now."""
        found = self.search.advance(logits)
        if not found:
            return []
        ended = [(self.numbers[row], hypothesis) for row, hypothesis in found.items()]
        kept = [row for row in range(len(self.numbers)) if row not in found]
        self.rows, self.numbers = self.rows[kept], [self.numbers[row] for row in kept]
        return ended

    def drop(self, number: int, *, device: torch.device) -> None:
        """Drop an image that has not ended."""
        kept = [row for row, other in enumerate(self.numbers) if other != number]
        self.search.keep(torch.tensor(kept, dtype=torch.long, device=device))
        self.rows, self.numbers = self.rows[kept], [self.numbers[row] for row in kept]


class RunningSearch:
    """A batch of images being captioned, which takes new images while others continue."""

    def __init__(self, backend: DecodingBackend, task: SearchTask) -> None:
        """Start without images.

        Args:
            backend: The text side.
            task: Settings of all searches; its image ids do not matter.
        """
        self._backend = backend
        self._task = task
        self._tree: TokenTree | None = None
        self._num_rows = 0
        self._together: list[_Together] = []
        self._device = torch.device("cpu")
        self._next_number = 0
        self._may_replace = False

    @property
    def num_running(self) -> int:
        """Number of images whose captions have not ended."""
        return sum(len(one.numbers) for one in self._together)

    @property
    def num_free(self) -> int:
        """Number of rows whose images have ended."""
        return self._num_rows - self.num_running

    @property
    def may_replace(self) -> bool:
        """Whether `add` accepts images while others run; always true while none do."""
        return self._may_replace or not self.num_running

    def add(
        self, image_ids: Sequence[str], vision_states: torch.Tensor
    ) -> list[tuple[int, Hypothesis]]:
        """Add images; return those that end with their first token, by number.

        Images are numbered from 0 in the order in which they are added.

        Args:
            image_ids: Ids, which seed sampling.
            vision_states: One (S, D) per image. If fewer rows are free, rows are added.
        """
        task = replace(self._task, image_ids=tuple(image_ids))
        count = len(image_ids)
        if self.num_running:
            rows, logits = self._join(vision_states)
        else:
            rows = torch.arange(count)
            logits = self._start(vision_states)
        is_beams = task.config.num_beams > 1
        kind: type[BeamSearch] | type[SingleSearch] = BeamSearch if is_beams else SingleSearch
        numbers = list(range(self._next_number, self._next_number + count))
        self._next_number += count
        added = _Together(kind(task, device=self._device), rows, numbers)
        self._together.append(added)
        return self._tidy(added.advance(logits[:, None]))

    def step(self) -> list[tuple[int, Hypothesis]]:
        """Append a token to all captions; return those that end with it, by number."""
        assert self._tree is not None
        shape = (self._num_rows, self._task.config.num_beams)
        parents = torch.zeros(shape, dtype=torch.long, device=self._device)
        token_ids = torch.zeros_like(parents)
        for one in self._together:
            rows = one.rows.to(self._device)
            parents[rows], token_ids[rows] = one.search.parents, one.search.token_ids
        logits = self._tree.grow(parents, token_ids)
        found: list[tuple[int, Hypothesis]] = []
        for one in self._together:
            is_all = len(one.rows) == self._num_rows
            found += one.advance(logits if is_all else logits[one.rows.to(self._device)])
        return self._tidy(found)

    def drop(self, number: int) -> None:
        """Stop an image that has not ended; its row becomes free.

        Args:
            number: Number of the image.
        """
        for one in self._together:
            if number in one.numbers:
                one.drop(number, device=self._device)
        self._tidy([])

    def drop_free_rows(self) -> None:
        """Drop the rows of ended images if that pays: no others will take them."""
        is_alive = self._alive_rows()
        if is_alive.any() and is_worth_dropping(is_alive):
            self._keep(is_alive)

    def tokens_so_far(self, number: int) -> tuple[int, ...]:
        """Return the tokens of a running image so far; none in beam search, which may change them.

        Args:
            number: Number of the image.
        """
        for one in self._together:
            if number in one.numbers and isinstance(one.search, SingleSearch):
                return one.search.tokens_so_far(one.numbers.index(number))
        return ()

    def _keep(self, is_alive: torch.Tensor) -> None:
        """Drop all rows but some, bool (B,), among them those of all running images."""
        assert self._tree is not None
        kept = is_alive.nonzero()[:, 0]
        self._tree.keep(kept.to(self._device))
        places = is_alive.cumsum(0) - 1
        for one in self._together:
            one.rows = places[one.rows]
        self._num_rows = len(kept)

    def _join(self, vision_states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Give rows to new images while others run; return the rows and the logits (n, V)."""
        assert self._tree is not None
        count = len(vision_states)
        if count <= self.num_free:
            rows = (~self._alive_rows()).nonzero()[:count, 0]
            return rows, self._tree.replace(rows.to(self._device), vision_states)
        if self.num_free:
            self._keep(self._alive_rows())
        rows = torch.arange(self._num_rows, self._num_rows + count)
        self._num_rows += count
        return rows, self._tree.extend(vision_states)

    def _start(self, vision_states: torch.Tensor) -> torch.Tensor:
        self._device, self._num_rows = vision_states.device, len(vision_states)
        self._tree = TokenTree(self._backend, vision_states)
        logits = self._tree.prefill(self._task.prompt_ids)
        self._may_replace = self._tree.allow_replacing(
            branches=self._task.config.num_beams, max_new_tokens=self._task.max_new_tokens
        )
        return logits

    def _alive_rows(self) -> torch.Tensor:
        """Return which rows have running images, bool (B,)."""
        is_alive = torch.zeros(self._num_rows, dtype=torch.bool)
        for one in self._together:
            is_alive[one.rows] = True
        return is_alive

    def _tidy(self, found: list[tuple[int, Hypothesis]]) -> list[tuple[int, Hypothesis]]:
        """Forget searches without images, and the memory of the last one."""
        self._together = [one for one in self._together if one.numbers]
        if not self._together:
            self._tree, self._num_rows = None, 0
        return found
