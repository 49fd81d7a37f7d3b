"""Two processes run a recipe from raw files to report and give the results of one process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from captune.data import make_shapes
from captune.pipeline import run
from captune.recipe import Recipe, save_recipe
from support.runs.ranks import launch_ranks
from support.runs.recipes import ARTEFACTS, recipe
from support.runs.same_weights import assert_same_weights, model_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Left:
    """The results of one process, and the results and output of two."""

    one: Path
    two: Path
    trainer: Path
    codes: list[list[int]]
    output: str


def write_images(folder: Path) -> Path:
    folder.mkdir()
    for record in make_shapes(40, seed=1, image_size=64):
        (folder / f"{record.image_id}.png").write_bytes(bytes(record.image))
        (folder / f"{record.image_id}.txt").write_text("\n".join(record.captions))
    broken = min(folder.glob("*.png"))
    broken.write_bytes(broken.read_bytes()[:200])
    return folder


def settings(data: Path, **train: object) -> Recipe:
    return recipe(
        data={"path": str(data), "num_workers": 0},
        train={
            **{"epochs": 2, "micro_batch_size": 4, "global_batch_size": 12, "precision": "fp32"},
            **{"device": "cpu", "validate_images": 2, "trackers": [], "log_every": 1, **train},
        },
        # The scored images are two batches, one per process.
        evaluate={"split": "val", "batch_size": 2, "bootstrap_samples": 100},
    )


@pytest.fixture(scope="module")
def left(tmp_path_factory) -> Left:
    place = tmp_path_factory.mktemp("processes")
    data = write_images(place / "set")
    loop, trainer = settings(data), settings(data, engine="trainer")
    save_recipe(loop, place / "loop.yaml")
    save_recipe(trainer, place / "trainer.yaml")
    output = launch_ranks(
        "process_runs.py",
        place,
        f"run {place}/loop.yaml --out {place}/two",
        # Trains twice in one launch.
        f"train {place}/trainer.yaml --out {place}/trainer",
        f"run {place}/loop.yaml --out {place}/two",
        f"run {place}/loop.yaml --set data.path={place}/nothing --out {place}/failed",
        processes=2,
    )
    run(loop, out=place / "one", say=lambda _: None)
    codes = [json.loads((place / f"codes-{rank}.json").read_text()) for rank in range(2)]
    return Left(place / "one", place / "two", place / "trainer", codes, output)


def test_every_command_ends_in_each_process(left: Left) -> None:
    assert left.codes == [[0, 0, 0, 2], [0, 0, 0, 2]]


def test_the_folder_is_complete_and_written_once(left: Left) -> None:
    assert [name for name in ARTEFACTS if not (left.two / name).exists()] == []
    for folder in (left.two, left.trainer):
        assert not (folder / "previous").exists()
        rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4, 5, 6]
    # A path that does not exist is refused before the stages of the fourth command start.
    started = {"prepare": 2, "baseline": 2, "train": 2, "evaluate": 1, "report": 1}
    for stage, times in started.items():
        assert left.output.count(f"{stage}: started") == times, stage
        assert left.output.count(f"{stage}: already done, skipped") == 1


def test_captions_and_scores_equal_those_of_one_process(left: Left) -> None:
    names = (
        *("splits/train.jsonl", "skipped_images.jsonl", "results_after_training.csv"),
        "predictions/before.jsonl",
    )
    for name in names:
        assert (left.two / name).read_bytes() == (left.one / name).read_bytes(), name
    one, two = (json.loads((f / "scores.json").read_text()) for f in (left.one, left.two))
    assert two == one


def test_each_process_captions_a_share_before_and_after_training(left: Left) -> None:
    counts = [
        json.loads((left.one.parent / f"captioned-{rank}.json").read_text()) for rank in range(2)
    ]
    # Two baselines, for two runs, and one evaluation, of 4 images each.
    assert counts == [[2, 2, 2], [2, 2, 2]]


@pytest.mark.parametrize("name", ["two", "trainer"])
def test_each_training_of_one_launch_gives_the_weights_of_one_process(
    left: Left, name: str
) -> None:
    assert_same_weights(model_file(getattr(left, name)), model_file(left.one), tolerance=1e-5)


def test_a_failure_of_the_first_process_is_printed_once_and_stops_the_others(left: Left) -> None:
    assert left.output.count(f"{left.one.parent}/nothing") == 1
    assert left.output.count("process 0 of the run stopped; its output shows its error") == 1
