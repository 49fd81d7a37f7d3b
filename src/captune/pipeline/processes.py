"""Several processes in one run: the first does every stage, the others join in shared work.

`torchrun --nproc-per-node 2 -m captune run RECIPE` starts the same command twice. Two processes
would overwrite each other's files, and caption each test image twice: so the first one leads, and
the others sleep until it calls them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch.distributed as dist
from accelerate.state import AcceleratorState, PartialState
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from captune.hardware import choose_hardware
from captune.pipeline.launch_variables import adopt_launch_variables
from captune.recipe import Recipe
from captune.storage import read_count
from captune.training import GROUP_TIMEOUT, ProcessError, Team, refuse_unlike_processes

_DONE = "done"


@dataclass(slots=True)
class Crew:
    """The processes of one run.

    Attributes:
        team: How they communicate.
        name: Name of this run, unique in the launch.
    """

    team: Team
    name: str
    _words: int = field(init=False, default=0)

    @property
    def leads(self) -> bool:
        """Whether this process runs the stages and writes the folder."""
        return self.team.leads

    @contextmanager
    def working(self) -> Iterator[None]:
        """Enclose this process's whole run; however it ends, the others are informed."""
        try:
            with self.team.failing_together():
                yield
                if self.leads:
                    self._say(_DONE)
        finally:
            # The store is in the first process: the others leave before it.
            self.team.part()

    def call(self, stage: str, recipe: Recipe) -> None:
        """Call all processes to join in a stage, and form the group."""
        if self.team.size > 1:
            self._say(stage)
            self._form_group(recipe)

    def hear(self, recipe: Recipe) -> str | None:
        """Wait for the next call of the first process, without a time limit.

        Returns:
            The stage to join in, with the group formed; `None`: the run is done.

        Raises:
            ProcessError: Another process failed.
        """
        store, key = self.team.store, self._next_key()
        if store is None:
            return None
        self.team.wait_for([key], patience=None)
        word = str(store.get(key).decode())
        if word == _DONE:
            return None
        self._form_group(recipe)
        return word

    def _say(self, word: str) -> None:
        if self.team.store is not None:
            self.team.store.set(self._next_key(), word)

    def _next_key(self) -> str:
        self._words += 1
        return f"word-{self._words}"

    def _form_group(self, recipe: Recipe) -> None:
        """Form one group of the processes if there is none; later runs use it too.

        The group gets the run's own name: keys that a destroyed group left in the store would
        block another group of the same name forever.
        """
        if dist.is_initialized():
            return
        AcceleratorState._reset_state(reset_partial_state=True)
        hardware = choose_hardware(recipe.train.device, recipe.train.precision)
        refuse_unlike_processes(self.team, hardware)
        PartialState(
            cpu=hardware.device.type == "cpu",
            store=PrefixStore(f"{self.name}/group", _meeting_place()),
            rank=self.team.rank,
            world_size=self.team.size,
            timeout=GROUP_TIMEOUT,
        )


def is_first_process() -> bool:
    """Return whether this process prints for the run."""
    return _place()[0] == 0


def gather_crew() -> Crew:
    """Return the processes that the launcher started; just this one without a launcher.

    Every process must call this for each run, in the same order.
    """
    rank, size = _place()
    if size == 1:
        return Crew(Team(), "alone")
    number = _meeting_place().add(f"captune/runs-of-{rank}", 1)
    name = f"captune/run-{number}"
    return Crew(Team(rank, size, PrefixStore(name, _meeting_place())), name)


def _place() -> tuple[int, int]:
    # torchrun and accelerate set these variables; mpirun and srun others.
    adopt_launch_variables()
    size = read_count("WORLD_SIZE", 1)
    rank = read_count("RANK", 0)
    if size > 1 and rank >= size:
        raise ProcessError(
            f"process number {rank} of {size}: they are counted from 0",
            where="RANK and WORLD_SIZE",
            fix="start the processes with torchrun or accelerate launch, or unset WORLD_SIZE",
        )
    return (rank, size) if size > 1 else (0, 1)


@functools.cache
def _meeting_place() -> Store:
    """Return the store at MASTER_ADDR and MASTER_PORT, kept for all runs of this process.

    Without torchrun it is in the first process, and a new one would be missing for a moment.

    Raises:
        ProcessError: The environment does not define the address.
    """
    try:
        store: Store = next(rendezvous("env://"))[0]
    # RuntimeError: the base of torch's errors for a port in use and a host that does not answer.
    except (ValueError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise ProcessError(
            f"the processes cannot connect: {reason}",
            where="WORLD_SIZE, RANK, MASTER_ADDR and MASTER_PORT",
            fix="start them with torchrun or accelerate launch, or unset WORLD_SIZE",
        ) from error
    return store
