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

    def take(self, rows: Ints) -> NextScores:
        """Return the scores of images `rows`, copied."""
        return NextScores(self.logits[rows], self.normalizer[rows])


class BranchRows:
    """The tokens of B images, with K branches each.

    Images that have ended grow on until they are dropped or replaced by others. All images share
    the places of the past: the tokens of one that joins later take new places, and those that only
    ended images see are freed.
    """

    def __init__(
        self, step: Graph, image: Sequence[Array], *, width: int, last_position: int
    ) -> None:
        """Start without tokens.

        Args:
            step: The step graph.
            image: Keys and values of the images, 2 N tensors (B, H, S, E); those of rows that are
                replaced are overwritten.
            width: D.
            last_position: Position of the last token that a caption may have.
        """
        self._step, self._image = step, list(image)
        rows = len(image[0])
        self._past = [np.empty((_FIRST_ROOM, rows, width), dtype=t.dtype) for t in image]
        self._used = 0
        self._visible = np.ones((rows, 1, 0), dtype=np.bool_)
        self._depths: Ints = np.zeros((rows, 1), dtype=np.int64)
        self._last_position = last_position

    def prefill(self, prompt_ids: Sequence[int]) -> NextScores:
        """Return the scores (B, 1, V) of the token after the prompt, the root of all branches."""
        batch, length = len(self._visible), len(prompt_ids)
        input_ids = np.tile(np.array(prompt_ids, dtype=np.int64), (batch, 1))
        visible = np.broadcast_to(np.tri(length, dtype=np.bool_), (batch, length, length))
        places = np.broadcast_to(np.arange(length, dtype=np.int64), (batch, length))
        found = self._append(input_ids, visible, places)
        self._visible = np.ones((batch, 1, length), dtype=np.bool_)
        self._depths += length
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
        places = np.minimum(self._depths, self._last_position)
        self._depths = self._depths + 1
        return self._append(token_ids, self._visible, np.broadcast_to(places, token_ids.shape))

    def keep(self, rows: Ints) -> None:
        """Drop all images except `rows`, indices of current images."""
        self._visible, self._depths = self._visible[rows], self._depths[rows]
        self._image = [tensor[rows] for tensor in self._image]
        self._past = [self._take(past, rows) for past in self._past]

    def replace(self, rows: Ints, fresh: BranchRows) -> None:
        """Give the rows of images that have ended to the images of other rows after their prompt.

        Args:
            rows: (n,), indices of rows whose images have been forgotten.
            fresh: n images, which have the same prompt.
        """
        for tensor, other in zip(self._image, fresh._image, strict=True):
            tensor[rows] = other
        self._write_prompt(rows, fresh)

    def extend(self, fresh: BranchRows) -> None:
        """Append the images of other rows after their prompt, which is the same."""
        old, count = len(self._visible), len(fresh._visible)
        self._image = [np.concatenate(both) for both in zip(self._image, fresh._image, strict=True)]
        self._past = [_with_rows(past, count) for past in self._past]
        blank = np.zeros((count, *self._visible.shape[1:]), dtype=np.bool_)
        self._visible = np.concatenate([self._visible, blank])
        self._depths = np.concatenate([self._depths, fresh._depths])
        self._write_prompt(np.arange(old, old + count), fresh)

    def forget(self, rows: Ints) -> None:
        """Free the places of images that have ended."""
        self._visible[rows] = False
        used = np.flatnonzero(self._visible.any(axis=(0, 1)))
        if len(used) < self._used:
            for past in self._past:
                past[: len(used)] = past[used]
            self._visible, self._used = self._visible[:, :, used], len(used)

    def _write_prompt(self, rows: Ints, fresh: BranchRows) -> None:
        """Give rows the prompt of other rows, at new places that no other row sees."""
        start, length = self._used, fresh._used
        self._make_room(start + length)
        for past, other in zip(self._past, fresh._past, strict=True):
            # The other rows have nothing at these places, but hidden numbers must be finite too.
            past[start : start + length] = 0
            past[start : start + length, rows] = other[:length]
        self._used = start + length
        shape = (*self._visible.shape[:2], length)
        self._visible = np.concatenate([self._visible, np.zeros(shape, dtype=np.bool_)], axis=2)
        self._visible[rows, :, start:] = True
        self._depths[rows] = fresh._depths

    def _take(self, past: Array, rows: Ints) -> Array:
        kept = np.empty((len(past), len(rows), past.shape[2]), dtype=past.dtype)
        kept[: self._used] = past[: self._used, rows]
        return kept

    def _append(self, input_ids: Ints, visible: npt.NDArray[np.bool_], places: Ints) -> NextScores:
        mask = np.where(visible, np.float32(0.0), _HIDDEN)
        past = [tensor[: self._used] for tensor in self._past]
        ids, places = np.ascontiguousarray(input_ids), np.ascontiguousarray(places)
        logits, normalizer, *new = self._step([ids, places, mask, *self._image, *past])
        self._store(new)
        assert len(new) == len(self._past), STEP_OUTPUTS
        return NextScores(logits, normalizer)

    def _store(self, new: Sequence[Array]) -> None:
        end = self._used + len(new[0])
        self._make_room(end)
        for past, keys in zip(self._past, new, strict=True):
            past[self._used : end] = keys
        self._used = end

    def _make_room(self, end: int) -> None:
        if end > len(self._past[0]):
            room = max(end, 2 * len(self._past[0]))
            self._past = [self._longer(past, room) for past in self._past]

    def _longer(self, past: Array, room: int) -> Array:
        longer = np.empty((room, *past.shape[1:]), dtype=past.dtype)
        longer[: self._used] = past[: self._used]
        return longer


def _with_rows(past: Array, count: int) -> Array:
    """Return the past with further rows, whose images see nothing of it."""
    blank = np.zeros((len(past), count, past.shape[2]), dtype=past.dtype)
    return np.concatenate([past, blank], axis=1)
