"""Workers per process, and dropped words that do not depend on the split of a step."""

from __future__ import annotations

import multiprocessing
import os
import signal

import pytest
import torch
from torch.utils.data import Dataset

from captune.errors import DataError
from captune.models import pack_captions
from captune.training.batches.feeding import drop_words
from captune.training.batches.pixel_reader import (
    WorkerLoader,
    choose_workers,
    explaining_lost_workers,
)


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOCAL_WORLD_SIZE", "WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("environment", "workers"),
    [
        ({}, 8),
        ({"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}, 6),
        ({"WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "8"}, 1),
        ({"WORLD_SIZE": "40", "LOCAL_WORLD_SIZE": "40"}, 1),
        ({"OMPI_COMM_WORLD_LOCAL_SIZE": "3"}, 4),
        # A launcher that does not set the number of processes on this machine.
        ({"WORLD_SIZE": "4"}, 3),
    ],
)
def test_the_processes_of_a_machine_share_its_cores(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], workers: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(12)), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert choose_workers(None, num_batches=100) == workers


def test_a_configured_number_of_workers_is_kept_and_few_batches_need_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert choose_workers(5, num_batches=1) == 5
    assert choose_workers(None, num_batches=8) == 0


def test_the_same_words_of_an_image_are_dropped_in_any_batch() -> None:
    rows = {"a": [[1, *range(10, 30), 2]], "b": [[1, *range(40, 50), 2]], "c": [[1, 60, 61, 2]]}

    def dropped(*image_ids: str) -> dict[str, list[int]]:
        batch = pack_captions([rows[i] for i in image_ids], list(image_ids), pad_token_id=0)
        result = drop_words(batch, 0.5, unknown_id=3, seed=(7, 4))
        torch.testing.assert_close(result.labels, batch.labels)
        return {
            image_id: ids[: len(rows[image_id][0])].tolist()
            for image_id, ids in zip(image_ids, result.input_ids, strict=True)
        }

    together = dropped("a", "b", "c")
    assert together == {**dropped("c", "a"), **dropped("b")}
    assert 3 < together["a"].count(3) < 17
    # The start token can be dropped like the others; the end token, which predicts nothing, not.
    assert together["a"][-1] == 2


class _Failing(Dataset[int]):
    """Ends the worker by a signal, or raises what torch raises without shared memory."""

    def __init__(self, ends_by: int | None) -> None:
        self.ends_by = ends_by

    def __len__(self) -> int:
        return 2

    def __getitem__(self, place: int) -> int:
        if self.ends_by is not None:
            os.kill(os.getpid(), self.ends_by)
        raise RuntimeError("unable to write to file </torch_7_1_0>: No space left on device (28)")


@pytest.mark.skipif(
    multiprocessing.get_start_method() != "fork", reason="a spawned process cannot import tests"
)
@pytest.mark.parametrize(
    ("ends_by", "reason", "fix"),
    [
        (getattr(signal, "SIGKILL", None), "killed by signal: Killed", "machine's memory"),
        (getattr(signal, "SIGBUS", None), "killed by signal: Bus error", "--shm-size"),
        (None, "No space left on device", "--shm-size"),
    ],
)
def test_a_lost_worker_is_explained(ends_by: int | None, reason: str, fix: str) -> None:
    loader = WorkerLoader(_Failing(ends_by), batch_size=None, num_workers=1)
    with pytest.raises(DataError) as caught, explaining_lost_workers():
        list(loader)
    assert reason in caught.value.what
    assert caught.value.where == "data.num_workers"
    assert fix in caught.value.fix
    assert "data.num_workers: 0" in caught.value.fix


def test_other_errors_of_a_training_stay_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="shapes"), explaining_lost_workers():
        raise RuntimeError("shapes cannot be multiplied")
