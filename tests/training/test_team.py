"""Processes exchange values, sleep while they wait, and fail together; here they are threads."""

from __future__ import annotations

import contextlib
import time

import pytest
from torch.distributed import HashStore

from captune.training.steps.reduce import GROUP_TIMEOUT
from captune.training.team import ProcessError, Team
from support.runs.threads import run_together


def test_results_of_shares_are_in_the_order_of_all_items() -> None:
    items = list("abcdefgh")

    def work(team: Team) -> list[str]:
        found = [(place, item.upper()) for place, item in team.own(items)]
        return [*team.gather_in_order(found), team.hear_leader(f"from {team.rank}")]

    assert run_together(work) == [[*"ABCDEFGH", "from 0"]] * 3


def test_one_process_alone_needs_no_store() -> None:
    team = Team()
    assert team.own("ab") == [(0, "a"), (1, "b")]
    assert team.gather(5) == [5]
    assert team.hear_leader(7) == 7
    team.wait_for_all()
    team.part()


def test_a_failing_process_stops_the_ones_that_wait_for_it() -> None:
    def work(team: Team) -> str:
        try:
            with team.failing_together():
                if team.rank == 1:
                    raise ValueError("broken")
                team.wait_for_all()
        except ProcessError as error:
            return error.what
        except ValueError as error:
            return str(error)
        return "done"

    zero, one, two = run_together(work)
    assert one == "broken"
    assert zero == two == "process 1 of the run stopped; its output shows its error"


def test_processes_work_together_again_after_one_failed() -> None:
    def work(team: Team) -> tuple[bool, list[int]]:
        with contextlib.suppress(ProcessError, ValueError):
            if team.rank == 1:
                team.wait_for_all()
                raise ValueError("broken")
            for _ in range(3):
                team.wait_for_all()
        return team.regroup(), team.gather(team.rank)

    assert run_together(work) == [(True, [0, 1, 2])] * 3


def test_processes_do_not_wait_for_one_that_is_gone() -> None:
    def work(team: Team) -> bool | None:
        with contextlib.suppress(KeyboardInterrupt), team.failing_together():
            if team.rank == 1:
                raise KeyboardInterrupt
            with contextlib.suppress(ProcessError):
                team.wait_for_all()
            return team.regroup()
        return None

    assert run_together(work) == [False, None, False]


def test_waiting_uses_no_processor_time() -> None:
    def work(team: Team) -> None:
        if team.leads:
            time.sleep(1.0)
        team.wait_for_all()

    before = time.process_time()
    run_together(work)
    assert time.process_time() - before < 0.5


def test_a_step_does_not_wait_for_a_dead_process_for_hours() -> None:
    assert 60 <= GROUP_TIMEOUT.total_seconds() <= 1800


def test_a_process_that_does_not_answer_is_an_error() -> None:
    with pytest.raises(ProcessError, match=r"did not answer for 0 s"):
        Team(0, 2, HashStore()).wait_for(["word"], patience=0.1)
