"""The setup before the first step: one process may train several recipes in succession."""

from __future__ import annotations

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState

from captune.errors import RecipeError
from captune.training import check_engine
from captune.training.setup import make_accelerator


@pytest.fixture(autouse=True)
def _own_state():
    """Reset accelerate, which keeps precision and device for the whole process."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def test_a_second_run_may_have_another_precision_than_the_first(tmp_path, make_recipe) -> None:
    Accelerator(cpu=True, mixed_precision="bf16")
    accelerator = make_accelerator(make_recipe(), tmp_path)
    assert accelerator.mixed_precision == "no"


def test_a_second_run_may_be_on_another_device_than_the_first(tmp_path, make_recipe) -> None:
    Accelerator(cpu=True)
    PartialState._shared_state["device"] = torch.device("cuda", 0)
    accelerator = make_accelerator(make_recipe(), tmp_path)
    assert accelerator.device.type == "cpu"


def test_processes_cannot_share_one_numbered_device(tmp_path, make_recipe, monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    recipe = make_recipe(train__device="cuda:0")
    folder = tmp_path / "run"
    with pytest.raises(RecipeError, match="'cuda:0' would put all 2 processes on one device"):
        make_accelerator(recipe, folder)
    with pytest.raises(RecipeError, match="'cuda:0' would put all 2 processes on one device"):
        check_engine(recipe.train)
    assert not folder.exists()
