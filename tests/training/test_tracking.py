"""The log survives kills and resumes; trackers are checked before work and get the numbers."""

from __future__ import annotations

import json

import pytest

from captune.errors import MissingExtraError
from captune.evaluation import read_training_log
from captune.training import check_trackers, log_test_scores, train
from captune.training.tracking import RunLog, read_log, tracker_settings


def test_rewinding_removes_lines_that_a_resumed_run_writes_again(tmp_path) -> None:
    log = RunLog(tmp_path / "log.jsonl")
    for step in (1, 2, 3, 4):
        log.write({"step": step, "loss": 0.5 * step})
    log.rewind(2)
    assert read_log(log.path) == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 1.0}]


def test_a_line_truncated_by_a_kill_is_skipped(tmp_path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    assert read_log(path) == [{"step": 1, "loss": 2.0}]


def test_a_missing_tracker_is_named_with_its_pip_command() -> None:
    check_trackers(["tensorboard"])
    with pytest.raises(MissingExtraError, match="no_such_tracker") as error:
        check_trackers(["no_such_tracker"])
    assert error.value.fix == 'pip install "captune[track]"'


def test_trackers_name_a_run_after_its_folder_and_show_its_recipe(tmp_path, make_recipe) -> None:
    settings = tracker_settings(make_recipe(train__learning_rate=0.25), tmp_path / "night-3")
    assert settings["wandb"]["dir"] == str(tmp_path / "night-3")
    for tracker in ("wandb", "trackio"):
        assert settings[tracker]["name"] == "night-3"
        assert settings[tracker]["config"]["train"]["learning_rate"] == 0.25
        json.dumps(settings[tracker])


@pytest.mark.slow
def test_tensorboard_gets_the_curves(tmp_path, shapes, make_recipe, make_captioner) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe = make_recipe(train__trackers=["tensorboard"], train__epochs=1)
    train(make_captioner(recipe), shapes, recipe=recipe, run_folder=tmp_path, say=lambda _: None)
    (file,) = (tmp_path / "tensorboard").rglob("events.*")
    events = EventAccumulator(str(file.parent)).Reload()
    assert [e.step for e in events.Scalars("train/loss")] == [1, 2, 3]
    assert len(events.Scalars("val/loss")) == 1
    logged = [row["loss"] for row in read_log(tmp_path / "log.jsonl") if "loss" in row]
    assert [e.value for e in events.Scalars("train/loss")] == pytest.approx(logged)


@pytest.mark.slow
def test_tensorboard_gets_validation_pictures_with_generated_captions(
    tmp_path, shapes, make_recipe, make_captioner
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe = make_recipe(train__trackers=["tensorboard"], train__epochs=2)
    train(make_captioner(recipe), shapes, recipe=recipe, run_folder=tmp_path, say=lambda _: None)
    (file,) = (tmp_path / "tensorboard").rglob("events.*")
    shown = EventAccumulator(str(file.parent)).Reload().Images("val/captions")
    assert [event.step for event in shown] == [0, 3, 6]
    # Pictures with text under them, side by side.
    assert shown[0].width > 2 * 260
    assert shown[0].encoded_image_string.startswith(b"\x89PNG")


def test_tensorboard_lists_the_settings_beside_the_curves(
    tmp_path, shapes, make_recipe, make_captioner
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import plugin_data_pb2

    # A folder whose name is not UTF-8.
    path = "caf\udce9"
    recipe = make_recipe(train__trackers=["tensorboard"], train__epochs=1, data__path=path)
    train(make_captioner(recipe), shapes, recipe=recipe, run_folder=tmp_path, say=lambda _: None)
    (file,) = (tmp_path / "tensorboard").rglob("events.*")
    events = EventAccumulator(str(file.parent)).Reload()
    content = events.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    shown = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert shown["train.epochs"].number_value == 1
    assert shown["data.path"].string_value == "caf\ufffd"
    assert shown["train.trackers"].string_value == '["tensorboard"]'
    assert "recipe/text_summary" in events.Tags()["tensors"]


def test_scores_of_the_run_are_curves_of_their_own_and_replace_older_ones(
    tmp_path, make_recipe
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe = make_recipe(train__trackers=["tensorboard"])
    for cider in (0.25, 0.5):
        scores = {0: {"cider": 0.125}, 6: {"cider": cider}}
        log_test_scores(recipe, tmp_path, scores=scores, split="test")
    events = EventAccumulator(str(tmp_path / "tensorboard" / recipe.name)).Reload()
    curve = events.Scalars("test/cider")
    assert [(event.step, event.value) for event in curve] == [(0, 0.125), (6, 0.5)]


def test_scores_of_the_validation_split_do_not_mix_with_its_curve(tmp_path, make_recipe) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe = make_recipe(train__trackers=["tensorboard"])
    log_test_scores(recipe, tmp_path, scores={6: {"cider": 0.5}}, split="val")
    events = EventAccumulator(str(tmp_path / "tensorboard" / recipe.name)).Reload()
    assert events.Tags()["scalars"] == ["scored_val/cider"]
    log_test_scores(make_recipe(), tmp_path / "none", scores={6: {"cider": 0.5}}, split="val")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_numbers_without_a_json_form_become_null(tmp_path, value: float) -> None:
    log = RunLog(tmp_path / "log.jsonl")
    log.write({"step": 1, "loss": 2.0, "grad_norm": value})
    log.write({"step": 2, "loss": value, "grad_norm": 1.5})
    log.rewind(2)

    def refuse(constant: str) -> None:
        raise AssertionError(f"not JSON: {constant}")

    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line, parse_constant=refuse) for line in lines] == [
        {"step": 1, "loss": 2.0, "grad_norm": None},
        {"step": 2, "loss": None, "grad_norm": 1.5},
    ]
    curve = read_training_log(tmp_path / "log.jsonl").curve("loss")
    assert curve.values == (2.0,)
