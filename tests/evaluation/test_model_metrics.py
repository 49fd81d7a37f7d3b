"""Metrics that look at images or need more than captions, in evaluations and recipes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from captune.errors import MetricError, MissingExtraError
from captune.evaluation import ScoringOptions, compare_systems
from captune.metrics import MetricInputs
from captune.recipe import load_recipe
from captune.records import CaptionRecord, Prediction


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A tiny random CLIP model whose images count a lot."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    folder = tmp_path / "clip"
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt")).save_pretrained(folder)
    text = {"vocab_size": len(tokens), "max_position_embeddings": 24}
    text |= {"bos_token_id": 52, "eos_token_id": 53, "pad_token_id": 53}
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    small |= {"num_attention_heads": 2}
    torch.manual_seed(0)
    vision = {"image_size": 32, "patch_size": 16}
    config = CLIPConfig(text_config=text | small, vision_config=vision | small, projection_dim=8)
    CLIPModel(config).save_pretrained(folder)
    size = {"height": 32, "width": 32}
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=size).save_pretrained(folder)
    return folder


def test_clip_score_looks_at_the_images_of_the_records(
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


def test_what_a_metric_lacks_is_found_before_the_work(
    options: ScoringOptions, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(MetricError, match="pac_s needs the checkpoint of PAC-S"):
        replace(options, metrics=("pac_s",)).check_metrics()
    monkeypatch.setenv("CAPTUNE_SPICE_HOME", str(tmp_path))
    with pytest.raises(MissingExtraError, match="SPICE"):
        replace(options, metrics=("spice",)).check_metrics()
