"""The processes that train together: their messages besides the sums of gradients.

Messages go through the store where the processes met, not through collectives. A process sleeps
while another one scores or saves alone, where NCCL would keep a core busy; and collectives may
have a short time-out, which a long wait exceeds.
"""

from __future__ import annotations

import contextlib
import math
import pickle
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch.distributed as dist
from accelerate import Accelerator
from torch.distributed.distributed_c10d import PrefixStore, Store, _get_default_store

from captune.errors import CaptuneError

Value = TypeVar("Value")

PATIENCE = 12 * 3600.0
"""Seconds that a process waits for the others: one may score or save for a long time."""
_MIN_PAUSE, _MAX_PAUSE = 0.001, 0.05
_FAREWELL = 10.0
_GONE = "gone"


class ProcessError(CaptuneError):
    """Another process of the run failed; its own error is in its output."""


def stopped_process(rank: int) -> ProcessError:
    """Return the error of the processes that end because another one has failed."""
    return ProcessError(
        f"process {rank} of the run stopped; its output shows its error",
        fix="correct that error, then run the same command with --resume",
    )


@dataclass(slots=True)
class Team:
    """The processes of one run; all call the methods below in the same order.

    Attributes:
        rank: Number of this process, from 0.
        size: Number of processes.
        store: Holds their messages; `None`: there is one process only.
    """

    rank: int = 0
    size: int = 1
    store: Store | None = None
    _round: int = field(init=False, default=0)
    _alarm: str = field(init=False, default="failed")

    @property
    def leads(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def own(self, items: Sequence[Value]) -> list[tuple[int, Value]]:
        """Return every size-th item with its index: this process's share of the work."""
        return list(enumerate(items))[self.rank :: self.size]

    def gather(self, value: Value) -> list[Value]:
        """Return the values of all processes, by rank, in every process.

        Raises:
            ProcessError: Another process failed or does not answer.
        """
        if self.store is None:
            return [value]
        number, self._round = self._round, self._round + 1
        self.store.set(f"{number}/{self.rank}", pickle.dumps(value))  # type: ignore[arg-type]
        keys = [f"{number}/{rank}" for rank in range(self.size)]
        self.wait_for(keys)
        values: list[Value] = [pickle.loads(self.store.get(key)) for key in keys]
        if self.leads and number:
            # All are in this round, so all have read the round before it.
            for rank in range(self.size):
                self.store.delete_key(f"{number - 1}/{rank}")
        return values

    def gather_in_order(self, found: Sequence[tuple[int, Value]]) -> list[Value]:
        """Return the results of all processes for their `own` items, in the order of all items."""
        everything = [pair for share in self.gather(list(found)) for pair in share]
        return [value for _, value in sorted(everything, key=lambda pair: pair[0])]

    def hear_leader(self, value: Value) -> Value:
        """Return the first process's value in every process."""
        return self.gather(value if self.leads else None)[0]  # type: ignore[return-value]

    def wait_for_all(self) -> None:
        """Wait until every process calls this."""
        self.gather(None)

    def wait_for(self, keys: Sequence[str], *, patience: float | None = PATIENCE) -> None:
        """Wait, asleep, until the store has all keys.

        Args:
            keys: Set by other processes.
            patience: Seconds; `None`: as long as it takes.

        Raises:
            ProcessError: Another process failed or does not answer.
        """
        self._sleep_until(keys, alarm=self._alarm, patience=patience)

    def _sleep_until(self, keys: Sequence[str], *, alarm: str, patience: float | None) -> None:
        if self.store is None:
            return
        pause = _MIN_PAUSE
        ends = math.inf if patience is None else time.monotonic() + patience
        # `Store.wait` would sleep in C++, where Ctrl-C does not reach it.
        while not _has_keys(self.store, keys):
            if _has_keys(self.store, [alarm]):
                raise stopped_process(int(self.store.get(alarm)))
            if time.monotonic() > ends:
                raise ProcessError(
                    f"a process of the run did not answer for {patience:.0f} s",
                    fix="see the output of the other processes, then run the same command with"
                    " --resume",
                )
            time.sleep(pause)
            pause = min(2 * pause, _MAX_PAUSE)

    def regroup(self) -> bool:
        """Bring the processes together after one failed, to save together what they have.

        It may fail only where they pass nothing but messages of the team: those that wait for one
        are woken by a `ProcessError`, and call this, too.

        Returns:
            Whether all came. If not, one is gone, and the others can do nothing together.
        """
        if self.store is None:
            return True
        try:
            self._raise_alarm(self._alarm)
            self.store.set(f"regroup/{self.rank}", str(self._round))
            keys = [f"regroup/{rank}" for rank in range(self.size)]
            self._sleep_until(keys, alarm=_GONE, patience=PATIENCE)
            # Some have missed rounds.
            self._round = 1 + max(int(self.store.get(key)) for key in keys)
        except (ProcessError, RuntimeError):
            return False
        self._alarm = "failed again"
        return True

    @contextlib.contextmanager
    def failing_together(self) -> Iterator[None]:
        """Run the block as work of all processes: if one fails, the others are notified."""
        failed = True
        try:
            yield
            failed = False
        finally:
            # The store is gone if the process that held it is.
            with contextlib.suppress(RuntimeError):
                if failed:
                    self._raise_alarm(self._alarm)
                    self._raise_alarm(_GONE)

    def _raise_alarm(self, alarm: str) -> None:
        if self.store is not None and not self.store.check([alarm]):
            self.store.set(alarm, str(self.rank))

    def part(self) -> None:
        """Wait until the others have read the last messages: the store may be in this process."""
        if self.store is None:
            return
        if not self.leads:
            self.store.add("left", 1)
            return
        ends = time.monotonic() + _FAREWELL
        while self.store.add("left", 0) < self.size - 1 and time.monotonic() < ends:
            time.sleep(_MAX_PAUSE)


@dataclass(frozen=True, slots=True)
class Launch:
    """The processes of one training and their shared objects.

    Attributes:
        accelerator: Loss scaling, trackers and the run's folder.
        team: The processes.
    """

    accelerator: Accelerator
    team: Team


def join_team() -> Team:
    """Return the team of torch's process group; without a group, this process alone.

    Every process must call this for each training, in the same order.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return Team()
    # torch has no public name for the store, and a script may have met anywhere (file, TCP).
    store, rank = _get_default_store(), dist.get_rank()
    number = store.add(f"captune/teams-of-{rank}", 1)
    return Team(rank, dist.get_world_size(), PrefixStore(f"captune/team-{number}", store))


def _has_keys(store: Store, keys: Sequence[str]) -> bool:
    try:
        return bool(store.check(list(keys)))
    except RuntimeError as error:
        raise ProcessError(
            "the run's first process is gone",
            where=str(error),
            fix="see the output of the first process, then run the same command with --resume",
        ) from error
