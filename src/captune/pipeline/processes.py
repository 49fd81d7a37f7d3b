"""Several processes on one run: the first does every stage, the others join it to train.

`torchrun --nproc-per-node 2 -m captune run RECIPE` starts the same command twice. Two processes
would write one folder over each other, and caption each test image twice: so the first one leads,
and the others wait for its word.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch.distributed as dist
from accelerate.state import AcceleratorState, PartialState
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from captune.errors import CaptuneError
from captune.hardware import choose_hardware
from captune.recipe import Recipe
from captune.training import GROUP_TIMEOUT

Word = Literal["train", "done", "failed"]

_PAUSE = 0.05
_FAREWELL = 10.0


class ProcessError(CaptuneError):
    """Another process of the run has failed; its own error stands in its output."""


@dataclass(frozen=True, slots=True)
class Crew:
    """The processes of one run.

    Attributes:
        rank: This process's place.
        size: How many there are.
        name: Of this run among those of the same launch.
    """

    rank: int
    size: int
    name: str

    @property
    def leads(self) -> bool:
        """Whether this process does the stages and writes the folder."""
        return self.rank == 0

    @contextmanager
    def leading(self) -> Iterator[None]:
        """The first process's whole run; however it ends, the others learn of it."""
        word: Word = "failed"
        try:
            yield
            word = "done"
        finally:
            self._dismiss(word)

    def call_to_train(self, recipe: Recipe) -> None:
        """The first process's word that all train now; they are one group when this returns."""
        if self.size > 1:
            self._say("train")
            self._form_group(recipe)

    def follow(self, recipe: Recipe) -> bool:
        """Waits for the first process, as long as it takes.

        Returns:
            Whether to train with it, the group being formed; else the run is done.

        Raises:
            ProcessError: It has failed.
        """
        word = self._hear()
        if word == "train":
            self._form_group(recipe)
        return word == "train"

    def wait_for_end(self) -> None:
        """Waits until the first process has done what follows training.

        Raises:
            ProcessError: It has failed.
        """
        while self._hear() == "train":
            time.sleep(_PAUSE)

    def _say(self, word: Word) -> None:
        _meeting_place().set(f"{self.name}/word", word)

    def _hear(self) -> Word:
        store, key = _meeting_place(), f"{self.name}/word"
        try:
            # `wait` would sleep in C++, where Ctrl-C does not reach it.
            while not store.check([key]):
                time.sleep(_PAUSE)
            word = store.get(key).decode()
        except RuntimeError as error:
            raise ProcessError("the run's first process is gone", where=str(error)) from error
        if word == "failed":
            self._leave()
            raise ProcessError("the run's first process stopped; its error stands there")
        if word == "done":
            self._leave()
        return "train" if word == "train" else "done"

    def _dismiss(self, word: Word) -> None:
        """Ends the run for all; the store lives in this process, so the others leave first."""
        if self.size == 1:
            return
        self._say(word)
        ends = time.monotonic() + _FAREWELL
        while _meeting_place().add(f"{self.name}/left", 0) < self.size - 1:
            if time.monotonic() > ends:
                return
            time.sleep(_PAUSE)

    def _leave(self) -> None:
        _meeting_place().add(f"{self.name}/left", 1)

    def _form_group(self, recipe: Recipe) -> None:
        """Makes the processes one group, unless they are; later runs use it too.

        Under the run's own name: where somebody has taken a group apart, what it left in the
        store would keep another of its name waiting for ever.
        """
        if dist.is_initialized():
            return
        AcceleratorState._reset_state(reset_partial_state=True)
        PartialState(
            cpu=choose_hardware(recipe.train.device).device.type == "cpu",
            store=PrefixStore(self.name, _meeting_place()),
            rank=self.rank,
            world_size=self.size,
            timeout=GROUP_TIMEOUT,
        )


def is_first_process() -> bool:
    """Whether this process speaks for the run."""
    return _place()[0] == 0


def gather_crew() -> Crew:
    """The processes that the launcher started; one where there was no launcher.

    Every process must come here for each run, in the same order.
    """
    rank, size = _place()
    if size == 1:
        return Crew(0, 1, "alone")
    number = _meeting_place().add(f"captune/runs-of-{rank}", 1)
    return Crew(rank, size, f"captune/run-{number}")


def _place() -> tuple[int, int]:
    # Set by torchrun and accelerate, which is how both know their own.
    size = int(os.environ.get("WORLD_SIZE", "1"))
    return (int(os.environ.get("RANK", "0")), size) if size > 1 else (0, 1)


@functools.cache
def _meeting_place() -> Store:
    """The store at MASTER_ADDR and MASTER_PORT, kept for all runs of this process.

    Without torchrun it lives in the first process; made anew, it would be gone for a moment.

    Raises:
        ProcessError: The environment does not say where that is.
    """
    try:
        store: Store = next(rendezvous("env://"))[0]
    except ValueError as error:
        raise ProcessError(
            f"the processes cannot meet: {error}",
            where="WORLD_SIZE, RANK, MASTER_ADDR and MASTER_PORT",
            fix="start them with torchrun or accelerate launch, or unset WORLD_SIZE",
        ) from error
    return store
