"""A training locks its folder as a run does: a second one stops and changes nothing."""

from __future__ import annotations

import threading

import pytest

from captune.errors import OutputError
from captune.storage import holds_folder, lock_folder
from captune.training import train

ENGINES = pytest.mark.parametrize("engine", ["loop", "trainer"])


@ENGINES
def test_a_training_in_a_folder_in_use_is_refused_and_writes_nothing(
    tmp_path, shapes, make_recipe, make_captioner, engine
) -> None:
    recipe = make_recipe(train__engine=engine, train__trackers=["tensorboard"])
    folder = tmp_path / "run"
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock_folder(folder):
            held.set()
            done.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(60)
    try:
        with pytest.raises(OutputError, match="run is in use by process"):
            train(make_captioner(recipe), shapes, recipe=recipe, run_folder=folder)
        assert [path.name for path in folder.iterdir()] == [".captune"]
    finally:
        done.set()
        holder.join()


@ENGINES
def test_a_training_locks_its_folder_and_leaves_no_lock_behind(
    tmp_path, shapes, make_recipe, make_captioner, engine
) -> None:
    recipe = make_recipe(train__engine=engine, train__max_steps=1)
    held = []

    def note(_: str) -> None:
        held.append(holds_folder(tmp_path))

    train(make_captioner(recipe), shapes, recipe=recipe, run_folder=tmp_path, say=note)
    assert held[1:]
    assert all(held)
    assert not (tmp_path / ".captune").exists()


def test_a_run_that_holds_the_folder_trains_in_it(
    tmp_path, shapes, make_recipe, make_captioner
) -> None:
    recipe = make_recipe(train__max_steps=1)
    with lock_folder(tmp_path):
        train(make_captioner(recipe), shapes, recipe=recipe, run_folder=tmp_path)
        assert holds_folder(tmp_path)
    assert (tmp_path / "model").is_dir()
