"""Metrics that use images or need more than captions, in evaluations and recipes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from captune.errors import MetricError, MissingExtraError
from captune.evaluation import ScoringOptions, compare_systems
from captune.metrics import MetricInputs
from captune.recipe import load_recipe
from captune.records import CaptionRecord, Prediction
from support.models.tiny_clip import save_clip


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A tiny random CLIP model whose scores depend strongly on the images."""
    return save_clip(tmp_path / "clip")


def test_clip_score_uses_the_images_of_the_records(
    records: list[CaptionRecord],
    before: list[Prediction],
    after: list[Prediction],
    options: ScoringOptions,
    clip: Path,
    tmp_path: Path,
) -> None:
    kept = tmp_path / "features"
    inputs = MetricInputs(clip_model=str(clip), feature_folder=kept)
    options = replace(options, metrics=("clip", "bleu_1"), inputs=inputs)
    systems = {"before": before, "after": after}
    evaluation = compare_systems(records, systems, options=options)
    assert evaluation.metrics == ("bleu_1", "clip_score", "ref_clip_score")
    assert len(list(kept.iterdir())) == 1
    assert "model:clip|weight:2.5" in evaluation.scores["after"].signatures["clip_score"]
    turned = [replace(record, image=records[-1].image) for record in records]
    others = compare_systems(turned, systems, options=options)
    values = [each.scores["after"].per_image["clip_score"] for each in (evaluation, others)]
    assert values[0][-1] == pytest.approx(values[1][-1], abs=1e-6)
    assert values[0] != values[1]


def test_a_recipe_names_the_models_of_its_metrics() -> None:
    overrides = ["evaluate.metrics=[clip_score]", "evaluate.clip_model=some/clip"]
    overrides += ["evaluate.bert_model=some/bert", "evaluate.pac_checkpoint=pac.pth"]
    options = ScoringOptions.from_recipe(load_recipe("demo", overrides))
    assert options.inputs.clip_model == "some/clip"
    assert options.inputs.bert_model == "some/bert"
    assert options.inputs.pac_checkpoint == "pac.pth"
    options.check_metrics()


def test_missing_requirements_of_a_metric_are_reported_before_captioning(
    options: ScoringOptions, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(MetricError, match="pac_s needs the PAC-S checkpoint"):
        replace(options, metrics=("pac_s",)).check_metrics()
    monkeypatch.setenv("CAPTUNE_SPICE_HOME", str(tmp_path))
    with pytest.raises(MissingExtraError, match="SPICE"):
        replace(options, metrics=("spice",)).check_metrics()
