"""Searches of images in rows, like `RunningSearch`, in steps that the device replays.

The host reads the captions of a step while the device computes the next one, so that the device
never waits for the host: a caption that has ended is seen one step later, and kept until then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import torch

from captune.hardware import Recorder
from captune.inference.decoding.replayed.beam_state import BeamState
from captune.inference.decoding.replayed.rows import ReplayedRows, RowCaptions
from captune.inference.decoding.replayed.rules import StepRules
from captune.inference.decoding.replayed.single_state import SingleState
from captune.inference.decoding.replayed.state import RowState
from captune.inference.decoding.task import Hypothesis, SearchTask
from captune.inference.decoding.token_tree import TokenTree
from captune.models import FastText

FIRST_TOKENS = 32
"""Tokens per caption that there are places for at first: each step reads all places."""

_SIZES = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""Numbers of rows for which steps are recorded; more in multiples of the last."""

_SPARE = 4
"""Kept rows are used again for at least a fourth as many images."""

_KEPT: WeakKeyDictionary[FastText, ReplayedRows] = WeakKeyDictionary()
"""Rows of the last search with a text side, whose steps are recorded. They do not refer to it."""


@dataclass(frozen=True, slots=True)
class _Image:
    """An image whose caption has not been seen to end.

    Attributes:
        number: Its number.
        start: Number of steps before it was added.
        readings: Number of readings before it was added, which do not show it.
    """

    number: int
    start: int
    readings: int


class ReplayedSearch:
    """See `RunningSearch`."""

    def __init__(self, backend: FastText, task: SearchTask, *, recorder: Recorder) -> None:
        """Start without images.

        Args:
            backend: The text side.
            task: Settings of all searches; its image ids do not matter.
            recorder: The device.
        """
        self._backend, self._recorder = backend, recorder
        self._task = replace(task, image_ids=())
        self._rules: StepRules | None = None
        self._rows: ReplayedRows | None = None
        self._images: dict[int, _Image] = {}
        self._num_rows = self._next_number = self._num_steps = 0
        # Readings that have not been waited for, oldest first, and the number of all.
        self._readings: deque[Callable[[], RowCaptions]] = deque()
        self._num_readings = 0
        self._seen: RowCaptions | None = None

    @property
    def num_running(self) -> int:
        """Number of images whose captions have not been seen to end."""
        return len(self._images)

    @property
    def num_free(self) -> int:
        """Number of rows whose images have ended."""
        return self._num_rows - self.num_running

    @property
    def may_replace(self) -> bool:
        """True: images can always be added."""
        return True

    def add(
        self, image_ids: Sequence[str], vision_states: torch.Tensor
    ) -> list[tuple[int, Hypothesis]]:
        """Add images; see `RunningSearch.add`."""
        device = vision_states.device
        task = replace(self._task, image_ids=tuple(image_ids))
        rules = self._rules = self._rules or StepRules.of(self._task, device)
        context = self._backend.start_decoding(vision_states)
        tree = TokenTree(self._backend, vision_states, context=context)
        logits = tree.prefill(task.prompt_ids)
        state: RowState
        if task.config.num_beams > 1:
            state = BeamState.start(rules, logits)
        else:
            state = SingleState.start(rules, task, logits=logits)
        rows = self._find_rows(len(image_ids), context, state)
        free = [row for row in range(rows.count) if row not in self._images][: len(image_ids)]
        rows.load(torch.tensor(free, device=device), context, state=state)
        for row in free:
            self._images[row] = _Image(self._next_number, self._num_steps, self._num_readings)
            self._next_number += 1
        self._num_rows = max(self._num_rows, self.num_running)
        return self._look() if task.max_new_tokens == 1 else []

    def step(self) -> list[tuple[int, Hypothesis]]:
        """Append a token to all captions; return those seen to have ended, by number."""
        assert self._rows is not None
        most = self._task.max_new_tokens
        if self._rows.tokens < min(self._longest(), most):
            self._grow(count=self._rows.count, tokens=min(2 * self._rows.tokens, most))
        self._rows.step()
        self._num_steps += 1
        if self._longest() >= most:
            # The longest caption has ended: another step may not be needed.
            return self._look()
        self._start_reading()
        return self._read(ahead=1)

    def drop(self, number: int) -> None:
        """Stop an image that has not ended; see `RunningSearch.drop`."""
        row = self._row_of(number)
        if row is None or self._rows is None:
            return
        # Otherwise it would pass the last place of its row.
        self._rows.stop(row)
        del self._images[row]
        if not self._images:
            self._keep_rows()

    def drop_free_rows(self) -> None:
        """Do nothing: the number of rows is recorded."""

    def tokens_so_far(self, number: int) -> tuple[int, ...]:
        """Return the tokens of a running image that have been seen; see `RunningSearch`."""
        row = self._row_of(number)
        if row is None or self._seen is None or self._task.config.num_beams > 1:
            return ()
        if not self._is_shown(row):
            return ()
        tokens = self._seen.tokens(row)
        return tokens[:-1] if tokens[-1] == self._task.eos_token_id else tokens

    def _row_of(self, number: int) -> int | None:
        return next((row for row, image in self._images.items() if image.number == number), None)

    def _longest(self) -> int:
        """Return the number of tokens of the longest caption, if none has ended."""
        start = min((image.start for image in self._images.values()), default=self._num_steps)
        return 1 + self._num_steps - start

    def _start_reading(self) -> None:
        assert self._rows is not None
        self._readings.append(self._rows.fetch())
        self._num_readings += 1

    def _look(self) -> list[tuple[int, Hypothesis]]:
        """Return the captions that have ended by now, by number; the device waits meanwhile."""
        self._start_reading()
        return self._read(ahead=0)

    def _read(self, *, ahead: int) -> list[tuple[int, Hypothesis]]:
        """Return the captions that are seen to have ended, by number, and free their rows.

        Args:
            ahead: Number of readings that are not waited for.
        """
        found = []
        while len(self._readings) > ahead:
            seen = self._seen = self._readings.popleft()()
            ended = [row for row in self._images if self._is_shown(row) and seen.has_ended(row)]
            for row in ended:
                hypothesis = Hypothesis(seen.tokens(row), seen.logprob(row))
                found.append((self._images.pop(row).number, hypothesis))
        if not self._images:
            self._keep_rows()
        return found

    def _is_shown(self, row: int) -> bool:
        """Return whether the last reading that was waited for shows the image of a row."""
        return self._num_readings - len(self._readings) > self._images[row].readings

    def _find_rows(self, count: int, context: object, state: RowState) -> ReplayedRows:
        """Return rows with enough free ones: those of the search, kept ones, or new ones."""
        assert self._rules is not None
        if self._rows is not None:
            needed = self.num_running + count
            if needed > self._rows.count:
                self._grow(count=_round_up(needed), tokens=self._rows.tokens)
            return self._rows
        kept = _KEPT.pop(self._backend, None)
        size = _round_up(count)
        if kept and size <= kept.count <= _SPARE * size and kept.fits(context, self._rules):
            self._rows = kept
            return kept
        # Before the others take memory.
        del kept
        tokens = min(self._task.max_new_tokens, FIRST_TOKENS)
        self._rows = ReplayedRows.like(
            context, state, rules=self._rules, size=(size, tokens), recorder=self._recorder
        )
        return self._rows

    def _grow(self, *, count: int, tokens: int) -> None:
        assert self._rows is not None
        # The recording is freed: the device must not be replaying it.
        self._rows.fetch()()
        self._rows = self._rows.grown(count=count, tokens=tokens)

    def _keep_rows(self) -> None:
        """Keep the rows for the next search, which would record its steps again."""
        if self._rows is not None:
            _KEPT[self._backend] = self._rows
        self._readings.clear()
        self._rows = self._seen = None
        self._num_rows = 0


def _round_up(count: int) -> int:
    """Return the number of rows for so many images."""
    most = _SIZES[-1]
    return next((size for size in _SIZES if size >= count), -(-count // most) * most)
