"""Three processes share each step's images, and run out of memory together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.runs.ranks import launch_ranks
from support.runs.same_weights import assert_same_weights, model_file
from support.runs.shares_script import OUT_OF_MEMORY, train_counting, with_train

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, make_recipe: Any) -> Path:
    """Return the folder of three processes' runs, with one process's runs in `one-...`."""
    recipe = make_recipe(
        model__size="vit-gpt2-tiny",
        # One process does one pass per step, as in most shipped recipes.
        train__micro_batch_size=8,
        train__global_batch_size=8,
        train__word_dropout=0.2,
        # AdamW amplifies the rounding errors of gradients that are nearly zero.
        train__learning_rate=2e-4,
        train__best_metric="cider",
        # Frozen embeddings are weights without a gradient.
        model__freeze=["embeddings"],
    )
    place = tmp_path_factory.mktemp("shares")
    launch_ranks("shares_script.py", place, recipe.model_dump_json(), processes=3)
    train_counting(recipe, place / "one-8")
    train_counting(with_train(recipe, micro_batch_size=2), place / "one-2")
    two = with_train(recipe, micro_batch_size=1, global_batch_size=2, max_steps=2)
    train_counting(two, place / "one-idle")
    return place


def counts(place: Path, name: str) -> list[list[int]]:
    found = [json.loads((place / name / f"rank-{rank}.json").read_text()) for rank in range(3)]
    return [rank["counts"] for rank in found]


def printed_lines(place: Path, name: str, *, rank: int = 0) -> list[str]:
    lines: list[str] = json.loads((place / name / f"rank-{rank}.json").read_text())["lines"]
    return lines


def column(place: Path, name: str, key: str) -> list[float]:
    rows = [json.loads(line) for line in (place / name / "log.jsonl").read_text().splitlines()]
    return [row[key] for row in rows if key in row]


def assert_same_training(place: Path, name: str, other: str) -> None:
    for key in ("loss", "grad_norm", "val_loss", "val_cider", "val_bleu_4"):
        ours, theirs = (column(place, folder, key) for folder in (name, other))
        assert ours
        assert ours == pytest.approx(theirs, abs=1e-5), key
    assert_same_weights(model_file(place / name), model_file(place / other), tolerance=1e-5)


@pytest.mark.parametrize("engine", ["loop", "trainer"])
def test_every_process_trains_on_its_share_of_each_step(place: Path, engine: str) -> None:
    # 24 images, 8 per step, twice; 8 among three are 3, 3 and 2.
    assert counts(place, engine) == [[3] * 6, [3] * 6, [2] * 6]
    assert "processes: 3 share the 8 images of a step: 3, 3, 2" in printed_lines(place, engine)


@pytest.mark.parametrize("engine", ["loop", "trainer"])
def test_three_processes_end_with_the_losses_and_weights_of_one(place: Path, engine: str) -> None:
    assert_same_training(place, engine, "one-8")


def test_processes_that_begin_with_other_weights_train_those_of_the_first(place: Path) -> None:
    assert_same_training(place, "unlike", "one-8")


@pytest.mark.parametrize("name", OUT_OF_MEMORY)
def test_out_of_memory_in_one_process_halves_the_micro_batches_of_all(
    place: Path, name: str
) -> None:
    # The size of a micro batch is part of the plan of the steps.
    assert_same_training(place, name, f"one-{OUT_OF_MEMORY[name][0]}")
    for rank in range(3):
        halved = [line for line in printed_lines(place, name, rank=rank) if "out of memory" in line]
        assert len(halved) == len(OUT_OF_MEMORY[name][2])
        assert "halved to 1 image," in halved[-1]
    # All processes repeat the failed step: one image per pass from then on.
    failing_rank = OUT_OF_MEMORY[name][1]
    assert counts(place, name)[failing_rank][-1] == 1


def test_one_image_too_large_for_one_process_is_an_error_in_all(place: Path) -> None:
    texts = [(place / f"always-{rank}.txt").read_text() for rank in range(3)]
    assert texts[0] == texts[1] == texts[2]
    assert "one image with its captions does not fit into memory" in texts[0]


def test_processes_without_images_are_named_with_the_setting(place: Path) -> None:
    assert counts(place, "idle") == [[1, 1], [1, 1], []]
    (warning,) = [line for line in printed_lines(place, "idle") if line.startswith("warning")]
    assert "rank 2 has no image in any step" in warning
    assert "train.global_batch_size 2" in warning
    assert "set train.global_batch_size to 3 or more" in warning
    assert_same_training(place, "idle", "one-idle")
