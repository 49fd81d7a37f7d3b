"""Work that a device records and replays, and devices that refuse."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from captune.hardware import RepeatedWork, find_recorder
from support.cpu_graphs import CpuRecorder, RefusedError


class Refusing(CpuRecorder):
    """A device that starts to record, and fails."""

    def __init__(self, cause: RuntimeError) -> None:
        super().__init__()
        self._cause = cause

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Fail as torch does: ending the recording raises another error."""
        try:
            raise self._cause
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")


def test_work_is_replayed_after_two_runs() -> None:
    total, recorder = torch.zeros(2), CpuRecorder()
    work = RepeatedWork(lambda: total.add_(1.0), recorder, what="adding")
    states = []
    for _ in range(5):
        work.run()
        states.append((total[0].item(), work.is_replayed))
    assert states == [(1.0, False), (2.0, False), (3.0, True), (4.0, True), (5.0, True)]
    assert (recorder.num_warm_ups, recorder.num_recorded, recorder.num_replays) == (2, 1, 3)


def test_a_refused_recording_gives_one_warning_with_its_first_cause() -> None:
    total = torch.zeros(2)
    recorder = Refusing(RuntimeError("event query is not permitted\nwhen the stream is captured"))
    work = RepeatedWork(lambda: total.add_(1.0), recorder, what="adding")
    with pytest.warns(UserWarning, match="adding is not replayed") as caught:
        for _ in range(6):
            work.run()
    assert [str(warning.message) for warning in caught] == [
        "adding is not replayed from a graph, and slower without: event query is not permitted"
    ]
    assert total.tolist() == [6.0, 6.0]
    assert not work.is_replayed


def test_a_lack_of_memory_while_recording_is_raised() -> None:
    work = RepeatedWork(
        lambda: None, Refusing(torch.OutOfMemoryError("CUDA out of memory")), what="adding"
    )
    work.run()
    work.run()
    with pytest.raises(torch.OutOfMemoryError):
        work.run()


def test_an_error_handled_before_is_not_the_cause_of_a_refusal() -> None:
    work = RepeatedWork(lambda: None, Refusing(RuntimeError("no stream")), what="adding")
    work.run()
    work.run()
    try:
        raise torch.OutOfMemoryError("CUDA out of memory")
    except torch.OutOfMemoryError:
        with pytest.warns(UserWarning, match="no stream"):
            work.run()


def test_a_cpu_records_nothing() -> None:
    assert find_recorder(torch.device("cpu")) is None


def test_the_pretended_recorder_refuses_what_a_device_cannot_replay() -> None:
    total = torch.zeros(3)
    for work in (
        lambda: total.add_(float(total[0])),
        lambda: total[total > 0] * 2,
        total.nonzero,
        lambda: total.add_(torch.tensor([1.0, 2.0, 3.0])),
    ):
        with pytest.raises(RefusedError):
            CpuRecorder().record(work)


def test_the_pretended_recorder_repeats_the_numbers_of_the_host() -> None:
    total, number = torch.zeros(3), [1.0]

    def work() -> None:
        total.add_(torch.full((3,), number[0]) * 2)

    repeated = RepeatedWork(work, CpuRecorder(), what="adding")
    for expected in (2.0, 4.0):
        repeated.run()
        assert total.tolist() == [expected] * 3
    number[0] = 5.0
    repeated.run()
    assert total.tolist() == [14.0] * 3
    number[0] = 7.0
    repeated.run()
    assert total.tolist() == [24.0] * 3
