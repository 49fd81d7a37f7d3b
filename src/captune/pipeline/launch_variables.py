"""The variables of mpirun and srun, under the names that torch and accelerate read.

torchrun and `accelerate launch` set WORLD_SIZE and RANK. Open MPI, MPICH, Intel MPI, MVAPICH and
Slurm have names of their own; without a translation, each of their processes would take itself for
the only one.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from captune.storage import read_count
from captune.training import ProcessError


@dataclass(frozen=True, slots=True)
class _Launcher:
    """A launcher and its variables.

    Attributes:
        command: What starts the processes.
        size: Number of processes.
        rank: Number of this process.
        local_rank: Its number on this machine.
        local_size: Number of processes on this machine; for Slurm, `4(x2)` or `4,2`.
    """

    command: str
    size: str
    rank: str
    local_rank: str
    local_size: str


_SLURM = _Launcher(
    "srun", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE"
)
_LAUNCHERS = (
    _Launcher(
        "mpirun",
        *("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
        *("OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    ),
    _Launcher("mpirun", "PMI_SIZE", "PMI_RANK", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
    _Launcher(
        "mpirun",
        *("MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK"),
        *("MV2_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_SIZE"),
    ),
    _SLURM,
)


def adopt_launch_variables() -> None:
    """Set torch's variables from those of mpirun or srun, unless they are set.

    Raises:
        EnvironmentValueError: One of them is not a number.
        ProcessError: There is no address at which the processes can meet.
    """
    if os.environ.get("WORLD_SIZE"):
        return
    for launcher in _LAUNCHERS:
        size = read_count(launcher.size, 1)
        # A shell that srun opens has Slurm's variables too, and its commands are single processes.
        has_address = bool(os.environ.get("MASTER_ADDR"))
        if size == 1 or (launcher is _SLURM and not has_address):
            continue
        if not has_address:
            raise ProcessError(
                f"{launcher.command} started {size} processes, which do not know where to meet",
                where="MASTER_ADDR is not set",
                fix=f"export the name of the first machine: {launcher.command} -x MASTER_ADDR=HOST"
                " -x MASTER_PORT=29500 (MPICH: -genv MASTER_ADDR HOST); or start them with torchrun"
                " or accelerate launch",
            )
        local_size = re.match(r"\d+", os.environ.get(launcher.local_size, ""))
        os.environ.update(
            WORLD_SIZE=str(size),
            RANK=str(read_count(launcher.rank, 0)),
            LOCAL_RANK=str(read_count(launcher.local_rank, 0)),
            LOCAL_WORLD_SIZE=local_size[0] if local_size else str(size),
        )
        return
