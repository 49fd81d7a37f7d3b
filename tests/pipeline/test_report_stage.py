"""The report is made from what the stages before it left, and computes no score again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from captune.pipeline import RunOptions, run
from captune.recipe import Recipe
from support.models.tiny_clip import save_clip
from support.runs.recipes import recipe as tiny_recipe

MADE = ("report.html", "model/README.md", "plots/before_after.png", "plots/captions.png")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("clip") / "tiny-clip")


def recipe(clip: Path, **evaluate: object) -> Recipe:
    return tiny_recipe(
        train__max_steps=1,
        evaluate={
            "metrics": ["cider", "clip_score", "distinct_captions"],
            "clip_model": str(clip),
            "bootstrap_samples": 100,
            **evaluate,
        },
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> Path:
    """A finished run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAPTUNE_CACHE", str(tmp_path_factory.mktemp("cache")))
        return run(recipe(clip), out=tmp_path_factory.mktemp("run"), say=lambda _: None)


def test_the_same_report_is_made_from_disk_where_the_metrics_models_are_gone(
    done: Path, clip: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(done, tmp_path / "run"))
    before = {name: (folder / name).read_bytes() for name in MADE}
    for name in MADE:
        (folder / name).unlink()
    clip.rename(tmp_path / "moved")
    # A process of its own: this one still holds the model.
    words = ("run", str(folder / "recipe.yaml"), "--from", "report", "--out", str(folder))
    said = subprocess.run(
        [sys.executable, "-m", "captune", *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "CAPTUNE_CACHE": str(tmp_path / "empty")},
    )
    (tmp_path / "moved").rename(clip)
    assert said.returncode == 0, said.stderr
    assert "are scored" not in said.stdout
    after = {name: (folder / name).read_bytes() for name in MADE}
    assert [name for name in MADE if before[name] != after[name]] == []


def test_captions_that_were_changed_are_scored_for_the_report(
    done: Path, clip: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(done, tmp_path / "run"))
    captions = folder / "predictions" / "after.jsonl"
    lines = captions.read_text().splitlines(keepends=True)
    captions.write_text("".join(lines[:-1]))
    said: list[str] = []
    options = RunOptions(start_from="report")
    run(recipe(clip), out=folder, options=options, say=said.append)
    assert "report: scores.json is not of these captions and settings, so they are scored" in said
    assert "scored on 3 images" in (folder / "model" / "README.md").read_text()
