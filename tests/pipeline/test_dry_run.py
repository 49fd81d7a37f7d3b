"""A dry run reports what a run would do, and writes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from captune.errors import DataError, OutputError, RecipeError
from captune.pipeline import dry_run, run
from captune.recipe import Recipe, save_recipe
from support.runs.recipes import recipe as tiny_recipe


def recipe(**train: object) -> Recipe:
    return tiny_recipe(train={"epochs": 3, "micro_batch_size": 4, "global_batch_size": 8, **train})


def printed(settings: Recipe, out: Path, **options: object) -> str:
    lines: list[str] = []
    dry_run(settings, out=out, say=lines.append, **options)  # type: ignore[arg-type]
    return "\n".join(lines)


def test_a_new_run_is_described_with_steps_images_time_and_memory(tmp_path) -> None:
    text = printed(recipe(), tmp_path / "run")
    assert "(new)" in text
    assert all(
        f"{stage}: would run" in text
        for stage in ("prepare", "baseline", "train", "evaluate", "report")
    )
    assert "images: train 32, val 4, test 4" in text
    # 32 images, 8 per step, 3 epochs.
    assert "steps: 12, 8 images each, of 32 images" in text
    # What takes longest to measure comes last.
    assert text.index("\nmemory: about ") < text.index("\ntraining time: about ")
    assert " s per step" in text
    assert "GiB" in text
    assert "captions to generate: 4 images of test before and after training" in text


@pytest.mark.slow
def test_nothing_is_written(tmp_path) -> None:
    printed(recipe(), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_finished_stages_are_skipped_and_changed_ones_run_again(tmp_path) -> None:
    run(recipe(max_steps=1), only=["prepare", "train"], out=tmp_path, say=lambda _: None)
    before = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*"))
    text = printed(recipe(max_steps=2), tmp_path)
    assert "prepare: already done in" in text
    assert "train: would run again" in text
    assert "baseline: would run" in text
    assert "steps: 2, 8 images each" in text
    assert sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*")) == before
    alone = printed(recipe(max_steps=1), tmp_path, only=["baseline"])
    assert "captions to generate: 4 images of test before training" in alone


def test_a_finished_run_has_nothing_to_do(tmp_path) -> None:
    run(recipe(max_steps=1), only=["prepare", "train"], out=tmp_path, say=lambda _: None)
    text = printed(recipe(max_steps=1), tmp_path, only=["prepare", "train"])
    assert text.endswith("nothing to do")


def test_cached_features_are_counted_once(tmp_path) -> None:
    settings = recipe().model_copy(
        update={"model": recipe().model.model_copy(update={"freeze": ("vision",)})}
    )
    assert "of it to encode images once" in printed(settings, tmp_path / "run")


def test_a_dry_run_raises_the_errors_of_a_run(tmp_path) -> None:
    with pytest.raises(RecipeError, match="stage train needs prepare"):
        printed(recipe(), tmp_path / "run", only=["train"])
    missing = recipe().model_copy(
        update={"data": recipe().data.model_copy(update={"path": str(tmp_path / "absent")})}
    )
    with pytest.raises(DataError, match="absent"):
        printed(missing, tmp_path / "run")


def test_a_recipe_that_the_user_wrote_is_never_overwritten(tmp_path) -> None:
    own = tmp_path / "recipe.yaml"
    own.write_text("# my notes\nname: mine\n")
    for start in (dry_run, run):
        with pytest.raises(OutputError, match="was not written by a run"):
            start(own, out=tmp_path, say=lambda _: None)
    assert own.read_text() == "# my notes\nname: mine\n"
    # A run that was stopped early left only its recipe.
    save_recipe(recipe(), own)
    assert "prepare: would run" in printed(recipe(), tmp_path)


def test_a_baseline_that_is_off_would_not_run(tmp_path) -> None:
    off = recipe().model_copy(
        update={"evaluate": recipe().evaluate.model_copy(update={"baseline": False})}
    )
    text = printed(off, tmp_path / "run")
    assert "baseline: off (evaluate.baseline: false)" in text
    assert "baseline: would run" not in text
    assert "captions to generate: 4 images of test after training" in text


@pytest.mark.slow
def test_a_warm_up_longer_than_the_run_and_an_absurd_rate_raise_warnings(tmp_path) -> None:
    text = printed(recipe(warmup_steps=300, learning_rate=50.0), tmp_path / "run")
    assert "warning: train.warmup_steps 300 is not shorter than the run of 12 steps" in text
    assert "warning: train.learning_rate is 50" in text
    one = printed(recipe(warmup_steps=1, max_steps=1), tmp_path / "one")
    assert "warning: train.warmup_steps 1 is not shorter than the run of 1 step," in one
    shown = printed(recipe(warmup_steps=5), tmp_path / "other")
    warnings = [line for line in shown.splitlines() if line.startswith("warning")]
    assert [line[:29] for line in warnings] == ["warning: 12 steps are few for"]


def test_the_memory_is_predicted_with_its_parts(tmp_path) -> None:
    text = printed(recipe(ema_decay=0.99), tmp_path / "run")
    line = next(line for line in text.splitlines() if line.startswith("memory: "))
    for part in ("process", "weights", "optimizer", "averages", "a micro batch of 4"):
        assert f"{part} " in line


@pytest.mark.slow
def test_settings_that_fit_into_a_given_memory_are_proposed(tmp_path) -> None:
    assert "fits into 9.3 GiB; train.micro_batch_size up to 8 does too" in printed(
        recipe(), tmp_path / "run", memory=10 * 10**9
    )
    text = printed(recipe(), tmp_path / "other", memory=10**8)
    assert "warning: does not fit into 95 MiB" in text
    assert "not even one image fits: freeze more with model.freeze" in text
