"""A signal to one process ends the training of all of them, whenever it arrives."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist

from captune.stopping import Stopped, hold_signals, signals_stop
from captune.training.run_state import agree_on_signal

CPU = torch.device("cpu")


@pytest.fixture
def group() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_a_signal_during_the_agreement_is_kept_for_the_next_step(group, monkeypatch) -> None:
    reduce = dist.all_reduce

    def reduce_and_signal(number: torch.Tensor, **settings: Any) -> None:
        reduce(number, **settings)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(dist, "all_reduce", reduce_and_signal)
    with pytest.raises(Stopped), signals_stop(), hold_signals() as held:
        # The others have not heard of it: stopping now would leave them waiting.
        assert agree_on_signal(held, CPU) is None
        assert held.number == signal.SIGTERM
        monkeypatch.setattr(dist, "all_reduce", reduce)
        assert agree_on_signal(held, CPU) == signal.SIGTERM


def test_a_signal_of_another_process_is_held_here(group, monkeypatch) -> None:
    def receive(number: torch.Tensor, **settings: Any) -> None:
        number.fill_(signal.SIGTERM)

    monkeypatch.setattr(dist, "all_reduce", receive)
    with pytest.raises(Stopped), signals_stop(), hold_signals() as held:
        assert agree_on_signal(held, CPU) == signal.SIGTERM
        assert held.number == signal.SIGTERM


def test_without_a_signal_nothing_is_held(group) -> None:
    with hold_signals() as held:
        assert agree_on_signal(held, CPU) is None
        assert held.number is None
