"""A recipe from data to report: outputs, skipped stages, errors and kept files."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
from pathlib import Path

import pytest

from captune.data import load_splits, make_shapes
from captune.errors import (
    DataError,
    ModelError,
    OutputError,
    RecipeError,
)
from captune.models import read_decoding
from captune.pipeline import STAGES, RunOptions, run
from captune.recipe import Recipe
from support.runs.recipes import ARTEFACTS, recipe


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    """One finished run; tests that change it copy it first."""
    return run(recipe(), out=tmp_path_factory.mktemp("run"), say=lambda _: None)


@pytest.fixture
def copy(done, tmp_path) -> Path:
    return Path(shutil.copytree(done, tmp_path / "run"))


def stages_that_ran(folder: Path, settings: Recipe, **options) -> list[str]:
    messages: list[str] = []
    run(settings, out=folder, options=RunOptions(**options), say=messages.append)
    return [line.partition(":")[0] for line in messages if line.endswith(": started")]


def test_a_run_writes_every_artefact(done) -> None:
    assert [name for name in ARTEFACTS if not (done / name).exists()] == []


def test_scores_hold_every_system_and_the_truth_rate_of_the_built_in_set(done) -> None:
    scores = json.loads((done / "scores.json").read_text())
    for system in ("before", "after", "constant_caption"):
        assert {"metrics", "intervals", "num_images", "signature"} <= scores[system].keys()
        assert scores[system]["num_images"] == 4
    assert 0.0 <= scores["truth_rate"] <= 1.0
    assert "truth_rate_constant_caption" in scores


def test_the_model_card_carries_the_scores_for_the_hub(done) -> None:
    from huggingface_hub import ModelCard

    card = ModelCard.load(done / "model" / "README.md")
    scores = json.loads((done / "scores.json").read_text())["after"]["metrics"]
    shown = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert shown["cider"] == pytest.approx(scores["cider"], abs=1e-6)
    assert shown["sacrebleu"] == pytest.approx(scores["sacrebleu"], abs=1e-6)
    assert "mean_length" not in shown
    assert "size: blip-tiny" in card.text


def test_the_csv_holds_one_row_per_test_image_with_relative_names(done) -> None:
    with (done / "results_after_training.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    test = [r for r in load_splits(done) if r.split == "test"]
    assert len(rows) == len(test)
    assert list(rows[0])[:3] == ["filename", "actual_caption", "generated_caption"]
    assert not any(row["filename"].startswith("/") for row in rows)


@pytest.mark.slow
def test_the_reported_losses_are_the_last_ones_and_those_of_the_kept_model(copy) -> None:
    kept = recipe(train__learning_rate=0.5, train__best_metric="loss", train__max_steps=6)
    stages_that_ran(copy, kept)
    reported = json.loads((copy / "train_metrics.json").read_text())
    rows = [json.loads(line) for line in (copy / "log.jsonl").read_text().splitlines()]
    losses = {row["step"]: row["val_loss"] for row in rows if "val_loss" in row}
    assert reported["val_loss"] == losses[6]
    assert reported["best_val_loss"] == min(losses.values()) == losses[reported["best_step"]]
    assert reported["best_val_perplexity"] == pytest.approx(math.exp(min(losses.values())))


def test_every_stage_of_a_finished_run_is_skipped(copy) -> None:
    assert stages_that_ran(copy, recipe()) == []


@pytest.mark.slow
def test_more_resamples_score_again_without_captioning_the_baseline(copy) -> None:
    settings = recipe(evaluate__bootstrap_samples=200)
    assert stages_that_ran(copy, settings) == ["evaluate", "report"]


@pytest.mark.slow
def test_other_decoding_captions_again_without_training(copy) -> None:
    settings = recipe(generate__num_beams=2)
    assert stages_that_ran(copy, settings) == ["baseline", "evaluate", "report"]


def test_settings_without_effect_rerun_nothing(copy) -> None:
    assert stages_that_ran(copy, recipe(train__log_every=3, data__num_workers=1)) == []


@pytest.mark.slow
def test_a_changed_rate_trains_again_and_keeps_the_old_model_in_previous(copy) -> None:
    old = (copy / "model" / "model.safetensors").read_bytes()
    ran = stages_that_ran(copy, recipe(train__learning_rate=1e-3))
    assert ran == ["train", "evaluate", "report"]
    kept = copy / "previous" / "train-1" / "model" / "model.safetensors"
    assert kept.read_bytes() == old
    assert (copy / "model" / "model.safetensors").read_bytes() != old


@pytest.mark.slow
def test_other_decoding_is_written_into_the_model_that_it_scored(copy) -> None:
    weights = (copy / "model" / "model.safetensors").read_bytes()
    stages_that_ran(copy, recipe(generate__max_new_tokens=4))
    assert read_decoding(str(copy / "model"))["max_new_tokens"] == 4
    assert (copy / "model" / "model.safetensors").read_bytes() == weights


@pytest.mark.slow
def test_deleted_outputs_are_rebuilt_except_checkpoints(copy) -> None:
    shutil.rmtree(copy / "checkpoints")
    assert stages_that_ran(copy, recipe()) == []
    (copy / "report.html").unlink()
    assert stages_that_ran(copy, recipe()) == ["report"]
    shutil.rmtree(copy / "plots")
    assert stages_that_ran(copy, recipe()) == ["report"]
    shutil.rmtree(copy / "splits")
    assert stages_that_ran(copy, recipe()) == ["prepare"]


@pytest.mark.slow
def test_a_retrained_model_is_scored_again_and_gets_its_card(copy) -> None:
    shutil.rmtree(copy / "model")
    assert stages_that_ran(copy, recipe()) == ["train", "evaluate", "report"]
    assert "model-index" in (copy / "model" / "README.md").read_text()


@pytest.mark.slow
def test_a_changed_model_in_the_folder_that_a_recipe_names_trains_again(copy, tmp_path) -> None:
    model = shutil.copytree(copy / "model", tmp_path / "base")
    settings = recipe(model={"checkpoint": str(model)})
    assert stages_that_ran(copy, settings) == list(STAGES)
    assert stages_that_ran(copy, settings) == []
    os.utime(model / "model.safetensors", (1, 1))
    assert stages_that_ran(copy, settings) == list(STAGES[1:])


# Its test split has one image.
@pytest.mark.filterwarnings("ignore:CIDEr of one image is 0")
@pytest.mark.slow
def test_data_edited_during_training_makes_the_next_run_start_again(tmp_path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for record in make_shapes(12, seed=1, image_size=64):
        (folder / f"{record.image_id}.png").write_bytes(bytes(record.image))
        (folder / f"{record.image_id}.txt").write_text(record.captions[0])
    settings = recipe(data__path=str(folder), train__max_steps=1, evaluate__baseline=False)

    def edit(line: str) -> None:
        if line == "train: started":
            min(folder.glob("*.txt")).write_text("another caption than before")

    run(settings, out=tmp_path / "run", say=edit)
    assert stages_that_ran(tmp_path / "run", settings) == list(STAGES)


def test_an_edited_list_of_images_changes_the_splits(tmp_path) -> None:
    records = make_shapes(12, seed=1, image_size=64)
    lines = []
    for record in records:
        (tmp_path / f"{record.image_id}.png").write_bytes(bytes(record.image))
        lines.append(f'{record.image_id}.png,"{record.captions[0]}"')
    (tmp_path / "data.csv").write_text("\n".join(["image,caption", *lines]))
    names = [line.partition(",")[0] for line in lines]
    files = {}
    for split, part in (("train", names[:8]), ("val", names[8:10]), ("test", names[10:])):
        files[split] = str(tmp_path / f"{split}.lst")
        (tmp_path / f"{split}.lst").write_text("\n".join(part))
    settings = recipe(data={"path": str(tmp_path / "data.csv"), "split_files": files})
    out = run(settings, only=["prepare"], out=tmp_path / "run", say=lambda _: None)
    assert json.loads((out / "splits.json").read_text())["splits"]["train"]["unique_images"] == 8
    (tmp_path / "train.lst").write_text("\n".join(names[:7]))
    run(settings, only=["prepare"], out=out, say=lambda _: None)
    assert json.loads((out / "splits.json").read_text())["splits"]["train"]["unique_images"] == 7


@pytest.mark.slow
def test_force_replaces_earlier_files(copy) -> None:
    stages_that_ran(copy, recipe(train__learning_rate=1e-3), force=True)
    assert not any((copy / "previous").glob("train-*"))


def test_the_main_scores_before_and_after_are_printed_as_a_table(copy) -> None:
    messages: list[str] = []
    options = RunOptions(start_from="evaluate")
    run(recipe(), only=["evaluate"], out=copy, options=options, say=messages.append)
    scores = json.loads((copy / "scores.json").read_text())
    before, after = (scores[name]["metrics"]["cider"] for name in ("before", "after"))
    at = next(place for place, line in enumerate(messages) if line.startswith("scores"))
    assert messages[at].split() == ["scores", "before", "after"]
    assert messages[at + 1].split() == ["CIDEr", f"{before:.3f}", f"{after:.3f}"]
    assert all(len(line) <= 80 for line in messages[at : at + 7])


@pytest.mark.slow
def test_the_from_option_runs_a_stage_and_all_after_it(copy) -> None:
    assert stages_that_ran(copy, recipe(), start_from="evaluate") == ["evaluate", "report"]


@pytest.mark.slow
def test_a_misspelt_path_of_the_data_changes_nothing_in_a_finished_run(copy) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        stages_that_ran(copy, recipe(data__path="no/such/photos"))
    assert stages_that_ran(copy, recipe()) == []
    assert not (copy / "previous").exists()


@pytest.mark.slow
def test_a_rebuilt_report_shows_the_machine_that_trained_and_scored(copy, monkeypatch) -> None:
    reported = (copy / "environment.json").read_bytes()
    monkeypatch.setattr("sys.argv", ["captune", "run", "tiny", "--from", "report"])
    assert stages_that_ran(copy, recipe(), start_from="report") == ["report"]
    assert (copy / "environment.json").read_bytes() == reported
    monkeypatch.setattr("sys.argv", ["captune", "run", "tiny", "--from", "evaluate"])
    stages_that_ran(copy, recipe(), start_from="evaluate")
    reported = json.loads((copy / "environment.json").read_text())
    assert reported["Command"] == "captune run tiny --from evaluate"


@pytest.mark.slow
def test_the_only_option_runs_one_stage_from_files_on_disk(tmp_path) -> None:
    settings = recipe()
    run(settings, only=["prepare"], out=tmp_path, say=lambda _: None)
    assert (tmp_path / "splits.json").exists()
    assert not (tmp_path / "model").exists()
    run(settings, only=["train"], out=tmp_path, say=lambda _: None)
    assert (tmp_path / "model" / "model.safetensors").exists()


def test_a_stage_without_its_inputs_names_the_stage_to_run_first(tmp_path) -> None:
    with pytest.raises(RecipeError, match="stage train needs prepare") as error:
        run(recipe(), only=["train"], out=tmp_path, say=lambda _: None)
    assert "--only prepare" in error.value.fix


@pytest.mark.slow
def test_a_stage_on_results_of_other_settings_raises_a_warning(copy) -> None:
    messages: list[str] = []
    settings = recipe(evaluate__bootstrap_samples=200)
    run(settings, only=["report"], out=copy, say=messages.append)
    assert messages[0].startswith("warning: report builds on evaluate, which ran here with other")
    assert (
        "report: scores.json is for other captions or settings, so these are scored again"
        in messages
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "damaged, not JSON"),
        ("[]", r"damaged, not a JSON object: '\[\]'"),
        ('{"train": 1}', "the record of stage train is damaged: '1'"),
    ],
)
def test_a_damaged_record_of_stages_is_an_error(copy, content, reason) -> None:
    (copy / "stages.json").write_text(content)
    with pytest.raises(DataError, match=reason) as error:
        run(recipe(), out=copy, say=lambda _: None)
    assert error.value.where.endswith("stages.json")


def test_a_folder_in_place_of_a_record_is_not_taken_for_a_run_without_one(copy) -> None:
    for name in ("predictions/before.jsonl", "stages.json"):
        (copy / name).unlink(missing_ok=True)
        (copy / name).mkdir()
        with pytest.raises(DataError, match=name):
            stages_that_ran(copy, recipe(), start_from="report")


@pytest.mark.slow
def test_an_interrupted_training_needs_resume(copy) -> None:
    stages = json.loads((copy / "stages.json").read_text())
    del stages["train"]
    (copy / "stages.json").write_text(json.dumps(stages))
    with pytest.raises(OutputError, match="interrupted") as error:
        run(recipe(), out=copy, say=lambda _: None)
    assert "--resume" in error.value.fix
    assert stages_that_ran(copy, recipe(), resume=True) == ["train", "evaluate", "report"]


def test_a_run_scores_with_the_models_in_its_recipe(copy, tmp_path) -> None:
    absent = tmp_path / "no-clip"
    settings = recipe(
        evaluate={"metrics": ["clip_score"], "clip_model": str(absent), "bootstrap_samples": 100}
    )
    with pytest.raises(ModelError, match="no-clip"):
        run(settings, out=copy, only=["evaluate"], say=lambda _: None)
