"""Runs on captions that are not English: scored by characters, or stopped before training."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from captune.errors import DataError
from captune.pipeline import run
from support.models.tiny_wordpiece import save_wordpiece
from support.runs.recipes import recipe

CHINESE = ["一个男人站在船旁边", "两只狗在草地上奔跑", "桌子上放着一杯咖啡", "一只猫在睡觉"]


@pytest.fixture
def data(tmp_path):
    """Twelve images with a Chinese caption beside each."""
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(12):
        Image.new("RGB", (40, 40), (20 * number, 200, 50)).save(folder / f"{number}.png")
        caption = CHINESE[number % len(CHINESE)]
        (folder / f"{number}.txt").write_text(caption, encoding="utf-8")
    return folder


def test_a_tokenizer_that_cannot_write_the_captions_stops_the_run_before_training(data, tmp_path):
    tokenizer = save_wordpiece(tmp_path / "tokenizer")
    plan = recipe(data__path=str(data), model__tokenizer=str(tokenizer))
    with pytest.raises(
        DataError, match=r"the tokenizer changes or does not know .* of the captions"
    ):
        run(plan, only=["prepare"], out=tmp_path / "run", say=lambda _: None)
    assert not (tmp_path / "run" / "splits.json").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.* letters other than a to z:UserWarning")
def test_the_recipes_tokenizer_is_used_in_scores_and_signature(data, tmp_path):
    plan = recipe(
        data__path=str(data),
        data__split_fractions={"train": 0.5, "val": 0.25, "test": 0.25},
        train__epochs=1,
        evaluate__tokenize="char",
    )
    run(plan, out=tmp_path / "run", say=lambda _: None)
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert scores["schema"] == 1
    assert "|tok:char|" in scores["after"]["signature"]
    assert scores["systems"]["after"]["metrics"] == scores["after"]["metrics"]
    # One reference for all images: some characters match, but no words between spaces would.
    assert scores["constant_caption"]["metrics"]["bleu_1"] > 0.05
