"""Rows of images being captioned, in tensors at fixed addresses, and the step that is replayed.

Shapes: R rows, K branches, P prompt tokens, N maximum new tokens, T places for tokens, V
vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from captune.hardware import Recorder, RepeatedWork
from captune.inference.decoding.replayed.rules import StepRules
from captune.inference.decoding.replayed.state import RowState
from captune.models import FixedText, additive_mask


@dataclass(frozen=True, slots=True)
class _Buffers:
    """The tensors of the rows.

    Attributes:
        rules: Settings.
        text: The text side with its caches.
        state: The searches.
        visible: bool (R, K, T), the tokens that each branch sees.
        table: int64 (R, 3 + N); see `RowCaptions`.
    """

    rules: StepRules
    text: FixedText
    state: RowState
    visible: torch.Tensor
    table: torch.Tensor

    def step(self) -> None:
        """Append a token to all captions, without waiting for the device or new addresses."""
        state, visible = self.state, self.visible
        branches, prompt = visible.shape[1], len(self.rules.prompt_ids)
        # The token chosen last is stored now.
        number = state.steps - 1
        own = torch.arange(branches, device=number.device)
        places = prompt + number[:, None] * branches + own
        seen = visible.gather(1, state.parents[:, :, None].expand(-1, -1, visible.shape[2]))
        visible.copy_(seen.scatter_(2, places[:, :, None], True))
        logits = self.text.step(
            state.last_tokens,
            position_ids=(prompt + number)[:, None].expand(-1, branches),
            attention_mask=additive_mask(visible, self.text.mask_dtype)[:, None],
            places=places,
        )
        following = state.advance(logits)
        for kept, new in zip(state.tensors(), following.tensors(), strict=True):
            kept.copy_(new)
        self.write_table()

    def write_table(self) -> None:
        """Write what the host reads, in one piece, to the table."""
        token_ids, lengths, logprobs = self.state.captions()
        numbers = [self.state.running, lengths, logprobs.view(torch.int32)]
        for column, values in enumerate(numbers):
            self.table[:, column].copy_(values)
        self.table[:, len(numbers) :].copy_(token_ids)

    def load(self, rows: torch.Tensor, context: Any, *, state: RowState) -> None:
        """Replace rows, int64 (n,), by images that have their first token."""
        self.text.load(rows, context)
        for kept, new in zip(self.state.tensors(), state.tensors(), strict=True):
            kept[rows] = new
        self.visible[rows] = self._see_prompt(len(rows))
        self.write_table()

    def copy_from(self, other: _Buffers) -> None:
        """Copy fewer rows with fewer places; the text side has been copied already."""
        count, _, places = other.visible.shape
        for kept, old in zip(self.state.tensors(), other.state.tensors(), strict=True):
            kept[:count] = old
        self.visible[:count, :, :places] = other.visible
        self.table[:count] = other.table

    def _see_prompt(self, count: int) -> torch.Tensor:
        seen = self.visible.new_zeros((count, *self.visible.shape[1:]))
        seen[:, :, : len(self.rules.prompt_ids)] = True
        return seen


class ReplayedRows:
    """R rows; the first steps run as usual, and later ones are replayed."""

    def __init__(self, buffers: _Buffers, recorder: Recorder) -> None:
        self._buffers, self._recorder = buffers, recorder
        self._work = RepeatedWork(buffers.step, recorder, what="decoding")

    @classmethod
    def like(
        cls,
        context: Any,
        state: RowState,
        *,
        rules: StepRules,
        size: tuple[int, int],
        recorder: Recorder,
    ) -> ReplayedRows:
        """Return rows without images.

        Args:
            context: A context that has read the prompt.
            state: Searches with the settings of these rows.
            rules: Settings.
            size: R, and the number of tokens per branch that there are places for.
            recorder: The device.
        """
        text = FixedText.like(context, rows=size[0], places=_count_places(rules, size[1]))
        return cls(_make_buffers(text, state, rules=rules, size=size), recorder)

    @property
    def count(self) -> int:
        """R."""
        return len(self._buffers.visible)

    @property
    def tokens(self) -> int:
        """Number of tokens per branch that there are places for."""
        _, branches, places = self._buffers.visible.shape
        return (places - len(self._buffers.rules.prompt_ids)) // branches

    @property
    def is_replayed(self) -> bool:
        """Whether the next step is a replay."""
        return self._work.is_replayed

    def fits(self, context: Any, rules: StepRules) -> bool:
        """Return whether these rows can take the images of a context, with the same settings."""
        return self._buffers.rules.task == rules.task and self._buffers.text.fits(context)

    def load(self, rows: torch.Tensor, context: Any, *, state: RowState) -> None:
        """Replace rows, int64 (n,), by images that have their first token."""
        self._buffers.load(rows, context, state=state)

    def stop(self, row: int) -> None:
        """End the search of a row."""
        self._buffers.state.running[row].fill_(False)

    def step(self) -> None:
        """Append a token to all captions that have not ended."""
        self._work.run()

    def fetch(self) -> Callable[[], RowCaptions]:
        """Start to read the captions so far; return a function that waits for them."""
        fetched = self._recorder.fetch(self._buffers.table)
        return lambda: RowCaptions(fetched().numpy())

    def grown(self, *, count: int, tokens: int) -> ReplayedRows:
        """Return a copy with more rows or places."""
        old = self._buffers
        text = old.text.grown(rows=count, places=_count_places(old.rules, tokens))
        new = _make_buffers(text, old.state, rules=old.rules, size=(count, tokens))
        new.copy_from(old)
        return ReplayedRows(new, self._recorder)


@dataclass(frozen=True, slots=True)
class RowCaptions:
    """Captions of all rows, as they were after a step.

    Attributes:
        table: int64 (R, 3 + N): whether the search continues, the number of tokens, the bits of
            the log-probability, and the tokens.
    """

    table: npt.NDArray[np.int64]

    def has_ended(self, row: int) -> bool:
        """Return whether the caption of a row is complete."""
        return not self.table[row, 0]

    def tokens(self, row: int) -> tuple[int, ...]:
        """Return the generated tokens of a row."""
        return tuple(self.table[row, 3 : 3 + self.table[row, 1]].tolist())

    def logprob(self, row: int) -> float:
        """Return the log-probability of these tokens."""
        return float(self.table[row, 2:3].astype(np.int32).view(np.float32)[0])


def _count_places(rules: StepRules, tokens: int) -> int:
    return len(rules.prompt_ids) + tokens * rules.task.config.num_beams


def _make_buffers(
    text: FixedText, state: RowState, *, rules: StepRules, size: tuple[int, int]
) -> _Buffers:
    """Return rows without images; they count as ended after their first token."""
    rows, tokens = size
    given = state.tensors()
    empty = state.with_tensors([part.new_zeros((rows, *part.shape[1:])) for part in given])
    empty.steps.fill_(1)
    visible = torch.zeros(
        (rows, rules.task.config.num_beams, _count_places(rules, tokens)),
        dtype=torch.bool,
        device=given[0].device,
    )
    visible[:, :, : len(rules.prompt_ids)] = True
    columns = 3 + rules.task.max_new_tokens
    table = torch.zeros((rows, columns), dtype=torch.long, device=visible.device)
    return _Buffers(rules, text, empty, visible, table)
