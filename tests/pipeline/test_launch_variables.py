"""The variables of a launcher: wrong ones end a run with their names."""

from __future__ import annotations

import os
import socket

import pytest

from captune.errors import EnvironmentValueError
from captune.pipeline.launch_variables import adopt_launch_variables
from captune.pipeline.processes import gather_crew
from captune.training import ProcessError

TORCH = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
NAMES = (*TORCH, "MASTER_ADDR", "MASTER_PORT")

LAUNCHERS = {
    "Open MPI": {
        "OMPI_COMM_WORLD_SIZE": "4",
        "OMPI_COMM_WORLD_RANK": "3",
        "OMPI_COMM_WORLD_LOCAL_RANK": "1",
        "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
    },
    "MPICH": {"PMI_SIZE": "4", "PMI_RANK": "3", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2"},
    "Slurm": {
        "SLURM_STEP_NUM_TASKS": "4",
        "SLURM_PROCID": "3",
        "SLURM_LOCALID": "1",
        "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
    },
}


@pytest.fixture
def launch(monkeypatch: pytest.MonkeyPatch):
    def set_variables(**variables: str) -> None:
        for name in (*NAMES, *(name for names in LAUNCHERS.values() for name in names)):
            # Set first, so that what the code sets is removed after the test.
            monkeypatch.setenv(name, "")
            monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_variables


@pytest.mark.parametrize("name", ["WORLD_SIZE", "RANK"])
def test_a_count_of_processes_that_is_not_a_number_is_named(launch, name):
    launch(**{"WORLD_SIZE": "2", "RANK": "0", name: "two"})
    with pytest.raises(EnvironmentValueError, match=f"{name} is 'two'"):
        gather_crew()


def test_a_rank_beyond_the_number_of_processes_is_refused_instead_of_waiting(launch):
    launch(WORLD_SIZE="2", RANK="2", MASTER_ADDR="127.0.0.1", MASTER_PORT="29500")
    with pytest.raises(ProcessError, match="process number 2 of 2"):
        gather_crew()


def test_one_process_needs_no_other_variable(launch):
    launch(WORLD_SIZE="1")
    assert gather_crew().team.size == 1


@pytest.mark.parametrize("port", ["abc", ""])
def test_a_port_that_is_not_a_number_is_an_error_that_names_the_variables(launch, port):
    launch(WORLD_SIZE="2", RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    with pytest.raises(ProcessError, match="the processes cannot connect") as caught:
        gather_crew()
    assert "MASTER_PORT" in caught.value.where


def test_a_port_that_another_program_uses_is_an_error_that_names_the_variables(launch):
    with socket.create_server(("", 0)) as server:
        port = str(server.getsockname()[1])
        launch(WORLD_SIZE="2", RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
        with pytest.raises(ProcessError, match=r"cannot connect: .*address") as caught:
            gather_crew()
    assert "MASTER_PORT" in caught.value.where


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_processes_of_mpirun_and_srun_get_the_variables_of_torchrun(launch, launcher):
    launch(MASTER_ADDR="127.0.0.1", **LAUNCHERS[launcher])
    adopt_launch_variables()
    assert [os.environ[name] for name in TORCH] == ["4", "3", "1", "2"]


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_the_variables_of_torchrun_take_precedence(launch, launcher):
    launch(WORLD_SIZE="2", RANK="1", **LAUNCHERS[launcher])
    adopt_launch_variables()
    assert [os.environ.get(name) for name in TORCH] == ["2", "1", None, None]


@pytest.mark.parametrize("launcher", ["Open MPI", "MPICH"])
def test_processes_of_mpirun_without_an_address_are_told_what_to_export(launch, launcher):
    launch(**LAUNCHERS[launcher])
    with pytest.raises(ProcessError, match="mpirun started 4 processes") as caught:
        gather_crew()
    assert "MASTER_ADDR=HOST" in caught.value.fix


def test_a_shell_that_srun_has_opened_runs_single_processes(launch):
    launch(**LAUNCHERS["Slurm"])
    assert gather_crew().team.size == 1


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_one_process_of_a_launcher_runs_alone(launch, launcher):
    size = next(iter(LAUNCHERS[launcher]))
    launch(MASTER_ADDR="127.0.0.1", **{**LAUNCHERS[launcher], size: "1"})
    assert gather_crew().team.size == 1
