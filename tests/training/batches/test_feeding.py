"""Workers per process, and dropped words that do not depend on the split of a step."""

from __future__ import annotations

import os

import pytest
import torch

from captune.models import pack_captions
from captune.training.batches.feeding import drop_words
from captune.training.batches.pixel_reader import choose_workers


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
