"""Two processes reach the result of one, also resumed: recipes, and a script's CaptionTrainer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.runs.process_script import frozen, train_recipe, train_script
from support.runs.ranks import launch_ranks
from support.runs.same_weights import assert_same_weights, model_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Folders:
    """The folders written by one process, and by two."""

    one: Path
    two: Path


@pytest.fixture(scope="module")
def folders(tmp_path_factory, make_recipe) -> Folders:
    # 24 images in micro batches of 5, two per step: in the last step one process has no image.
    recipe = make_recipe(
        model__size="vit-gpt2-tiny",
        data__views=["original"],
        train__engine="trainer",
        train__micro_batch_size=5,
        train__global_batch_size=10,
        train__best_metric="cider",
        train__validate_every=2,
    )
    found = Folders(tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two"))
    launch_ranks("process_script.py", found.two, recipe.model_dump_json(), processes=2, timeout=800)
    train_recipe(recipe, found.one / "recipe")
    train_script(recipe, found.one / "script", processes=1)
    train_recipe(frozen(recipe), found.one / "frozen")
    return found


def log(folder: Path, run: str = "recipe") -> list[dict[str, float]]:
    lines = (folder / run / "log.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_the_trainer_engine_logs_the_same_losses_and_validations(folders: Folders) -> None:
    one, two = log(folders.one), log(folders.two)
    assert [row["step"] for row in two] == [row["step"] for row in one]
    for name in ("loss", "grad_norm", "learning_rate", "val_loss", "val_cider", "val_bleu_4"):
        ours, theirs = ([row[name] for row in rows if name in row] for rows in (one, two))
        assert len(ours) == (6 if name in ("loss", "grad_norm", "learning_rate") else 3)
        assert theirs == pytest.approx(ours, abs=1e-5), name


def test_the_trainer_engine_keeps_the_same_best_model(folders: Folders) -> None:
    one, two = (model_file(folder / "recipe") for folder in (folders.one, folders.two))
    assert_same_weights(two, one, tolerance=1e-5)


def test_a_scripts_losses_scores_and_captions_are_the_same(folders: Folders) -> None:
    one, two = (
        json.loads((folder / "script" / "found.json").read_text())
        for folder in (folders.one, folders.two)
    )
    # No image is repeated or missing, and they are in the order of the data.
    assert len(one["predictions"]) == 5
    assert two.pop("predictions") == one.pop("predictions")
    assert two.pop("losses") == pytest.approx(one.pop("losses"), abs=1e-5)
    assert two == pytest.approx(one, abs=1e-5)


def test_a_script_ends_with_the_same_weights(folders: Folders) -> None:
    one, two = (model_file(folder / "script") for folder in (folders.one, folders.two))
    assert_same_weights(two, one, tolerance=1e-5)


@pytest.mark.parametrize("engine", ["loop", "trainer"])
def test_two_processes_resume_to_the_same_bits(folders: Folders, engine: str) -> None:
    runs = [folders.two / engine / name for name in ("whole", "again")]
    curves = []
    for run in runs:
        rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        curves.append([row["loss"] for row in rows if "loss" in row])
    assert len(curves[0]) == 4
    assert curves[0] == curves[1]
    whole, again = map(model_file, runs)
    assert_same_weights(again, whole)


@pytest.mark.parametrize("engine", ["loop", "trainer"])
def test_a_validation_that_fails_in_one_process_costs_no_step(
    folders: Folders, engine: str
) -> None:
    failed = folders.two / engine / "failed"
    zero, one = (json.loads((failed / f"error-{rank}.json").read_text()) for rank in range(2))
    assert zero["error"] == "process 1 of the run stopped; its output shows its error"
    assert one["error"] == "a batch of validation images does not fit into memory"
    # Without the failure, the first checkpoint would be that of step 4.
    assert zero["left"] == one["left"] == ["step-000002"]
    rows = log(folders.two / engine, "failed")
    assert [row["step"] for row in rows if "val_loss" in row] == [2, 4]
    whole = log(folders.two / engine, "whole")
    assert [r["loss"] for r in rows if "loss" in r] == [r["loss"] for r in whole if "loss" in r]


@pytest.mark.parametrize("engine", ["loop", "trainer"])
def test_images_that_one_process_cannot_read_cost_no_step(folders: Folders, engine: str) -> None:
    lost = folders.two / engine / "lost"
    zero, one = (json.loads((lost / f"error-{rank}.json").read_text()) for rank in range(2))
    assert zero["error"] == "process 1 of the run stopped; its output shows its error"
    assert "can no longer be read" in one["error"]
    # Without the failure, the first checkpoint would be that of step 4.
    assert zero["left"] == one["left"] == ["step-000001"]
    rows, whole = (log(folders.two / engine, name) for name in ("lost", "whole"))
    assert [r["loss"] for r in rows if "loss" in r] == [r["loss"] for r in whole if "loss" in r]


def test_each_process_encodes_a_share_of_the_feature_cache(folders: Folders) -> None:
    pairs = [[i, v] for i in range(7) for v in range(3)]
    first, second = (
        json.loads((folders.two / "features" / f"asked-{rank}.json").read_text())
        for rank in range(2)
    )
    assert first["asked"] + second["asked"] == pairs
    assert abs(len(first["asked"]) - len(second["asked"])) <= 1
    assert first["array"] == second["array"] == pairs


def test_cached_features_of_two_processes_give_the_losses_of_one(folders: Folders) -> None:
    assert list((folders.two / "frozen" / "feature_cache").glob("train-*.npy"))
    ours, theirs = (
        [row["loss"] for row in log(folder, "frozen") if "loss" in row]
        for folder in (folders.one, folders.two)
    )
    assert len(ours) == 6
    assert theirs == pytest.approx(ours, abs=1e-5)
