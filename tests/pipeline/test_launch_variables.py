"""The variables of a launcher: wrong ones end a run with their names."""

from __future__ import annotations

import socket

import pytest

from captune.errors import EnvironmentValueError
from captune.pipeline.processes import gather_crew
from captune.training import ProcessError


@pytest.fixture
def launch(monkeypatch: pytest.MonkeyPatch):
    def set_variables(**variables: str) -> None:
        for name in ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT"):
            monkeypatch.delenv(name, raising=False)
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
