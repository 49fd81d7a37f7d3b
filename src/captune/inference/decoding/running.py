"""Searches in torch of images that start and end at different steps, in one batch of rows.

Shapes: B rows, K beams, S vision states, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from captune.inference.decoding.backend import DecodingBackend
from captune.inference.decoding.beams import BeamSearch
from captune.inference.decoding.greedy import SingleSearch
from captune.inference.decoding.task import SearchTask
from captune.inference.decoding.together import RunningImages
from captune.inference.decoding.token_tree import TokenTree


class RunningSearch(RunningImages[BeamSearch | SingleSearch, torch.Tensor, torch.Tensor]):
    """See `RunningImages`; images are vision states (n, S, D), scores are logits."""

    def __init__(self, backend: DecodingBackend, task: SearchTask) -> None:
        """Start without images.

        Args:
            backend: The text side.
            task: Settings of all searches; its image ids do not matter.
        """
        super().__init__(task)
        self._backend = backend
        self._tree: TokenTree | None = None
        self._device = torch.device("cpu")
        self._may_replace = False

    @property
    def may_replace(self) -> bool:
        """Whether `add` accepts images while others run; always true while none do."""
        return self._may_replace or not self.num_running

    def _open(self, task: SearchTask) -> BeamSearch | SingleSearch:
        is_beams = task.config.num_beams > 1
        kind: type[BeamSearch] | type[SingleSearch] = BeamSearch if is_beams else SingleSearch
        return kind(task, device=self._device)

    def _start(self, images: torch.Tensor) -> torch.Tensor:
        self._device = images.device
        self._tree = TokenTree(self._backend, images)
        logits = self._tree.prefill(self._task.prompt_ids)
        self._may_replace = self._tree.allow_replacing(
            branches=self._task.config.num_beams, max_new_tokens=self._task.max_new_tokens
        )
        return logits[:, None]

    def _replace(self, rows: Sequence[int], images: torch.Tensor) -> torch.Tensor:
        assert self._tree is not None
        return self._tree.replace(self._index(rows), images)[:, None]

    def _extend(self, images: torch.Tensor) -> torch.Tensor:
        assert self._tree is not None
        return self._tree.extend(images)[:, None]

    def _grow(self) -> torch.Tensor:
        assert self._tree is not None
        shape = (self._num_rows, self._task.config.num_beams)
        parents = torch.zeros(shape, dtype=torch.long, device=self._device)
        token_ids = torch.zeros_like(parents)
        for one in self._together:
            rows = self._index(one.rows)
            parents[rows], token_ids[rows] = one.search.parents, one.search.token_ids
        return self._tree.grow(parents, token_ids)

    def _take(self, scores: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
        return scores[self._index(rows)]

    def _keep(self, rows: Sequence[int]) -> None:
        assert self._tree is not None
        self._tree.keep(self._index(rows))

    def _end(self) -> None:
        self._tree = None

    def _index(self, rows: Sequence[int]) -> torch.Tensor:
        return torch.tensor(rows, dtype=torch.long, device=self._device)
