"""Errors that come from a model's process."""

from __future__ import annotations

from captune.bulk.worker.wire import Broken
from captune.errors import DataError, ModelError


def test_an_error_without_a_fix_becomes_one_of_the_model_and_others_stay():
    error = Broken(RuntimeError("KeyError: 'seed'")).as_load_error("--engine ray")
    assert isinstance(error, ModelError)
    assert (error.what, error.where) == (
        "the model cannot be loaded: KeyError: 'seed'",
        "--engine ray",
    )
    own = DataError("no folder", fix="share it")
    assert Broken(own).as_load_error() is own
