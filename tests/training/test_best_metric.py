"""The metric that picks the model: any metric of captions, or an error before any work."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from captune.errors import MetricError
from captune.training import check_best_metric, train
from captune.training.validation import is_better
from support.models.tiny_bert import save_bert
from support.models.tiny_clip import save_clip


def log_of(folder: Path) -> list[dict]:
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if "val_loss" in row]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["loop", "trainer"])
def test_a_model_without_a_baseline_is_picked_by_its_raw_bert_score(
    tmp_path, shapes, make_recipe, make_captioner, engine
) -> None:
    pytest.importorskip("bert_score")
    recipe = make_recipe(
        train__best_metric="bert_score",
        train__engine=engine,
        evaluate__bert_model=str(save_bert(tmp_path / "bert", layers=2)),
    )
    captioner = make_captioner(recipe)
    lines: list[str] = []
    with pytest.warns(UserWarning, match="no baseline"):
        result = train(captioner, shapes, recipe=recipe, run_folder=tmp_path, say=lines.append)
    shown = next(line for line in lines if ": validation " in line)
    assert re.search(r"^step \d+: validation loss \d\.\d{4}, BLEU-4 0\.\d{3}, CIDEr ", shown)
    rows = log_of(tmp_path)
    assert all("val_bert_score" not in row for row in rows)
    values = {row["step"]: row["val_bert_score_raw"] for row in rows}
    assert result.best_value == max(values.values())
    assert values[result.best_step] == result.best_value


@pytest.mark.slow
def test_a_metric_of_images_picks_with_the_model_named_in_the_recipe(
    tmp_path, shapes, make_recipe, make_captioner, monkeypatch
) -> None:
    monkeypatch.setenv("CAPTUNE_CACHE", str(tmp_path / "cache"))
    recipe = make_recipe(
        train__best_metric="clip_score", evaluate__clip_model=str(save_clip(tmp_path / "clip"))
    )
    captioner = make_captioner(recipe)
    result = train(captioner, shapes, recipe=recipe, run_folder=tmp_path, say=lambda _: None)
    values = {row["step"]: row["val_clip_score"] for row in log_of(tmp_path)}
    assert result.best_value == max(values.values())
    assert values[result.best_step] == result.best_value


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["loop", "trainer"])
def test_the_loss_picks_the_model_where_one_validation_image_has_no_cider(
    tmp_path, shapes, make_recipe, make_captioner, engine
) -> None:
    recipe = make_recipe(train__best_metric="cider", train__engine=engine, train__epochs=4)
    captioner = make_captioner(recipe)
    with pytest.warns(UserWarning, match="one image"):
        result = train(
            *(captioner, (shapes[0], shapes[1][:1])),
            recipe=recipe,
            run_folder=tmp_path,
            say=lambda _: None,
        )
    rows = log_of(tmp_path)
    assert {row["val_cider"] for row in rows} == {0.0}
    losses = {row["step"]: row["val_loss"] for row in rows}
    assert len(losses) == 4
    assert losses[result.best_step] == min(losses.values())
    assert result.best_step > min(losses)


@pytest.mark.parametrize(
    ("value", "best", "losses", "better"),
    [
        (0.5, 0.5, (1.0, 2.0), True),
        (0.5, 0.5, (2.0, 1.0), False),
        (0.5, 0.5, (1.0, 1.0), False),
        # A checkpoint of an earlier version has no loss of its best step.
        (0.5, 0.5, (1.0, None), False),
        (0.6, 0.5, (2.0, 1.0), True),
        (0.4, 0.5, (1.0, 2.0), False),
        (0.5, None, (2.0, None), True),
    ],
)
def test_the_lower_loss_decides_between_equal_values_only(value, best, losses, better) -> None:
    assert is_better(value, best, metric="bleu_4", losses=losses) is better


@pytest.mark.parametrize(
    ("metric", "texts"),
    [
        ("bleu", ("'bleu' is a group of metrics", "use one of bleu_1, bleu_2, bleu_3, bleu_4")),
        ("default", ("'default' is a group of metrics", "cider")),
        ("mean_length", ("neither higher nor lower 'mean_length' is better", "use a metric such")),
        ("cidre", (r"unknown metric 'cidre' \(did you mean 'cider'\?\)", "use one of")),
        ("pac_s", ("pac_s needs the PAC-S checkpoint", "give it")),
    ],
)
def test_a_metric_that_cannot_pick_a_model_is_refused_before_any_work(
    tmp_path, shapes, make_recipe, make_captioner, metric, texts
) -> None:
    recipe = make_recipe(train__best_metric=metric)
    with pytest.raises(MetricError, match=texts[0]) as error:
        check_best_metric(recipe)
    assert texts[1] in error.value.fix
    assert error.value.where == "train.best_metric"
    captioner = make_captioner(recipe)
    with pytest.raises(MetricError, match=texts[0]):
        train(captioner, shapes, recipe=recipe, run_folder=tmp_path, say=lambda _: None)
    assert not (tmp_path / "log.jsonl").exists()


@pytest.mark.parametrize("metric", ["loss", "last", "wer", "clip_score", "vocabulary_size"])
def test_a_metric_that_can_pick_a_model_is_accepted(make_recipe, metric) -> None:
    check_best_metric(make_recipe(train__best_metric=metric))
