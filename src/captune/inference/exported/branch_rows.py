"""Packed beams in numpy: all beams of an image are side by side in one row of a step graph.

The numpy twin of `captune.inference.decoding.token_tree`: keys of the image are stored once,
nothing is repeated or reordered, and a beam's history is a row of the mask.
Shapes: B images, K beams, P prompt tokens, T past tokens, V vocabulary, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from captune.inference.exported.graphs import STEP_OUTPUTS, Array, Graph

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

_HIDDEN = np.float32(-1.0e9)
_FIRST_ROOM = 32


@dataclass(frozen=True, slots=True)
class NextScores:
    """Scores of the next token.

    Attributes:
        logits: float32 (B, K, V), which may be modified and are valid until the next step.
        normalizer: float32 (B, K), the log of the summed exponentials of the unchanged logits.
    """

    logits: Floats
    normalizer: Floats


class BranchRows:
    """The tokens of B images, with K branches each.

    Args:
        step: The step graph.
        image: Keys and values of the images, 2 N tensors (B, H, S, E).
        width: D.
    """

    def __init__(self, step: Graph, image: Sequence[Array], *, width: int) -> None:
        self._step, self._image = step, list(image)
        rows = len(image[0])
        self._past = [np.empty((_FIRST_ROOM, rows, width), dtype=t.dtype) for t in image]
        self._used = 0
        self._visible = np.ones((rows, 1, 0), dtype=np.bool_)
        self._depth = 0

    def prefill(self, prompt_ids: Sequence[int]) -> NextScores:
        """Return the scores (B, 1, V) of the token after the prompt, the root of all branches."""
        batch, length = len(self._visible), len(prompt_ids)
        input_ids = np.tile(np.array(prompt_ids, dtype=np.int64), (batch, 1))
        visible = np.tri(length, dtype=np.bool_)
        found = self._append(input_ids, np.broadcast_to(visible, (batch, length, length)), length)
        self._visible = np.ones((batch, 1, length), dtype=np.bool_)
        return NextScores(found.logits[:, -1:], found.normalizer[:, -1:])

    def grow(self, parents: Ints, token_ids: Ints) -> NextScores:
        """Return the scores (B, K, V) after one more token per branch.

        Args:
            parents: (B, K), the branch that each new branch continues; zeros after `prefill`.
            token_ids: (B, K), the next token of each new branch.
        """
        batch, branches = token_ids.shape
        history = np.take_along_axis(self._visible, parents[:, :, None], axis=1)
        own = np.broadcast_to(np.eye(branches, dtype=np.bool_), (batch, branches, branches))
        self._visible = np.concatenate([history, own], axis=2)
        return self._append(token_ids, self._visible, 1)

    def keep(self, rows: Ints) -> None:
        """Drop all images except `rows`, indices of current images."""
        self._visible = self._visible[rows]
        self._image = [tensor[rows] for tensor in self._image]
        self._past = [self._take(past, rows) for past in self._past]

    def _take(self, past: Array, rows: Ints) -> Array:
        kept = np.empty((len(past), len(rows), past.shape[2]), dtype=past.dtype)
        kept[: self._used] = past[: self._used, rows]
        return kept

    def _append(self, input_ids: Ints, visible: npt.NDArray[np.bool_], levels: int) -> NextScores:
        positions = np.arange(self._depth, self._depth + levels, dtype=np.int64)
        self._depth += levels
        mask = np.where(visible, np.float32(0.0), _HIDDEN)
        past = [tensor[: self._used] for tensor in self._past]
        places = np.ascontiguousarray(np.broadcast_to(positions, input_ids.shape))
        ids = np.ascontiguousarray(input_ids)
        logits, normalizer, *new = self._step([ids, places, mask, *self._image, *past])
        self._store(new)
        assert len(new) == len(self._past), STEP_OUTPUTS
        return NextScores(logits, normalizer)

    def _store(self, new: Sequence[Array]) -> None:
        end = self._used + len(new[0])
        if end > len(self._past[0]):
            room = max(end, 2 * len(self._past[0]))
            self._past = [self._wider(past, room) for past in self._past]
        for past, keys in zip(self._past, new, strict=True):
            past[self._used : end] = keys
        self._used = end

    def _wider(self, past: Array, room: int) -> Array:
        wider = np.empty((room, *past.shape[1:]), dtype=past.dtype)
        wider[: self._used] = past[: self._used]
        return wider
