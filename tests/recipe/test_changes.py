"""Each setting states the effect of a change on finished runs and interrupted trainings."""

from __future__ import annotations

from typing import get_args

from captune.recipe import Recipe, TrainConfig, setting_changes
from captune.recipe.changes import Change, Means

NOTHING = {
    *("data.num_workers", "data.pixel_store", "evaluate.batch_size", "train.log_every"),
    *("train.trackers",),
    *("train.push_to_hub", "train.push_private", "train.push_images"),
    *("train.keep_checkpoints", "train.save_every"),
}
WARN = {
    *("epochs", "max_steps", "micro_batch_size"),
    *("learning_rate", "vision_lr_scale", "weight_decay"),
    *("vision_weight_decay", "beta1", "beta2", "schedule", "warmup_steps", "warmup_fraction"),
    *("min_lr_ratio", "max_grad_norm", "label_smoothing", "word_dropout", "ema_decay"),
    *("validate_every", "validate_images", "validate_beams", "best_metric", "patience"),
}
RETRAIN = {
    *("seed", "train.global_batch_size", "data.max_captions", "data.max_caption_tokens"),
    *("data.lower_case", "data.views"),
}


def of(change: Change) -> set[str]:
    return {key for key, value in setting_changes(Recipe).items() if value == change}


def leaves(value: object, prefix: str = "") -> set[str]:
    if not isinstance(value, dict) or prefix in ("data.filters.", "data.split_files."):
        return {prefix.rstrip(".")}
    return {key for name, inner in value.items() for key in leaves(inner, f"{prefix}{name}.")}


def test_every_setting_states_the_effect_of_a_change() -> None:
    assert set(setting_changes(Recipe)) == leaves(Recipe().model_dump(mode="json"))
    assert set(setting_changes(Recipe).values()) == set(get_args(Change))


def test_every_setting_of_training_states_the_effect_in_its_own_field() -> None:
    silent = [
        name
        for name, field in TrainConfig.model_fields.items()
        if not any(isinstance(note, Means) for note in field.metadata)
    ]
    assert silent == []


def test_the_settings_of_each_effect_are_these() -> None:
    assert of("nothing") == NOTHING
    assert of("warn") == {f"train.{name}" for name in WARN}
    assert {key for key in of("retrain") if not key.startswith("model.")} == RETRAIN
    assert {key for key in setting_changes(Recipe) if key.startswith("model.")} <= of("retrain")
