"""Folders of runs as the pipeline leaves them, without a training."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from captune.data import save_splits
from captune.evaluation import RunToScore, ScoringOptions, save_scores
from captune.inference import write_predictions
from captune.recipe import Recipe, save_recipe
from captune.records import CaptionRecord, Prediction

NOUNS = ("dog", "cat", "bird", "boat", "tree", "car", "bus", "cow")
GOOD = {noun: f"a red {noun} sits on the grass" for noun in NOUNS[::2]}
MakeRun = Callable[..., Path]


def _png(place: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40 + place, 30), (30 * place, 90, 200)).save(buffer, "PNG")
    return buffer.getvalue()


def run_maker(place: Path) -> MakeRun:
    """Return a function that writes a finished run with the given captions by noun."""
    photos = place / "photos"
    photos.mkdir()
    for number, noun in enumerate(NOUNS):
        (photos / f"{noun}.png").write_bytes(_png(number))
    records = [
        CaptionRecord(
            noun,
            photos / f"{noun}.png",
            (f"a red {noun} sits on the grass", f"one {noun} outside"),
            "test",
            file_name=f"{noun}.png",
        )
        for noun in NOUNS
    ]

    def make(name: str, captions: dict[str, str], **settings: Any) -> Path:
        folder = place / "runs" / name
        (folder / "predictions").mkdir(parents=True)
        recipe = Recipe.model_validate({"name": "tiny", **settings})
        save_recipe(recipe, folder / "recipe.yaml")
        save_splits(records, folder, seed=None, by="image")
        texts = {noun: captions.get(noun, "a man") for noun in NOUNS}
        after = [Prediction(noun, text, -1.0, 5, "eos") for noun, text in texts.items()]
        write_predictions(folder / "predictions" / "after.jsonl", after)
        options = ScoringOptions(("cider", "bleu_4", "wer"), "test", recipe.generate, 100, 42)
        run = RunToScore(records, None, after, [], options)
        save_scores(folder, run.score(), run=run)
        rows = [{"step": s, "loss": 4.0 / s, "val_cider": 0.1 * s} for s in (1, 2, 3)]
        (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        stages = ("prepare", "baseline", "train", "evaluate", "report")
        entry = {"input_hash": "0", "finished": "2026-03-01T10:00:00+0000", "seconds": 12.5}
        (folder / "stages.json").write_text(json.dumps(dict.fromkeys(stages, entry)))
        (folder / "environment.json").write_text(json.dumps({"Hardware": "cpu"}))
        (folder / "report.html").write_text("<p>report</p>")
        return folder

    return make


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Return a function that writes a finished run with the given captions by noun."""
    return run_maker(tmp_path)


@pytest.fixture
def good() -> dict[str, str]:
    """Captions of which half equal a human one."""
    return dict(GOOD)
