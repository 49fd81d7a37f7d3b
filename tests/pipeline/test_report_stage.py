"""The report is built from files of earlier stages, without scoring again."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from captune.pipeline import RunOptions, run
from captune.pipeline.stages.report import describe_times
from captune.recipe import Recipe
from support.models.tiny_clip import save_clip
from support.runs.forks import run_captune
from support.runs.recipes import recipe as tiny_recipe

WRITTEN = ("report.html", "model/README.md", "plots/before_after.png", "plots/captions.png")


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


@pytest.mark.slow
def test_the_same_report_is_rebuilt_without_the_models_of_the_metrics(
    done: Path, clip: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(done, tmp_path / "run"))
    before = {name: (folder / name).read_bytes() for name in WRITTEN}
    for name in WRITTEN:
        (folder / name).unlink()
    clip.rename(tmp_path / "moved")
    # A process of its own: this one still holds the model.
    words = ("run", folder / "recipe.yaml", "--from", "report", "--out", folder)
    process = run_captune(words, environment={"CAPTUNE_CACHE": str(tmp_path / "empty")})
    output, _ = process.communicate(timeout=200)
    (tmp_path / "moved").rename(clip)
    assert process.returncode == 0, output
    assert "are scored" not in output
    # Commands to paste name the folder where the run is now.
    here, there = os.fsencode(folder), os.fsencode(done)
    assert here in (folder / "report.html").read_bytes()
    after = {name: (folder / name).read_bytes().replace(here, there) for name in WRITTEN}
    assert [name for name in WRITTEN if before[name] != after[name]] == []


@pytest.mark.slow
def test_a_run_of_python_is_named_by_its_own_folder_in_commands(done: Path) -> None:
    page = (done / "report.html").read_text(encoding="utf-8")
    assert f"captune run {done}/recipe.yaml --set" in page
    assert "runs/" not in page


def test_the_report_lists_times_and_the_settings_that_differ(done: Path) -> None:
    page = (done / "report.html").read_text(encoding="utf-8")
    assert "Settings that differ from the defaults" in page
    assert re.search(r"\n  max_steps: 1\n", page)
    assert re.search(r">\d+ s: data \d+ s, baseline \d+ s, training \d+ s, scoring \d+ s<", page)


def test_what_is_not_a_time_is_skipped() -> None:
    seconds = {"prepare": 3, "baseline": 10**400, "train": 90.2, "evaluate": "long"}
    damaged = {stage: {"seconds": own} for stage, own in seconds.items()}
    (fact,) = describe_times({**damaged, "report": 5})
    assert fact.value == "1 min 33 s: data 3 s, training 1 min 30 s"
    assert describe_times({"prepare": [], "train": {"seconds": float("nan")}}) == []


@pytest.mark.slow
def test_changed_captions_are_scored_again_for_the_report(
    done: Path, clip: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(done, tmp_path / "run"))
    captions = folder / "predictions" / "after.jsonl"
    lines = captions.read_text(encoding="utf-8").splitlines(keepends=True)
    captions.write_text("".join(lines[:-1]), encoding="utf-8")
    messages: list[str] = []
    options = RunOptions(start_from="report")
    run(recipe(clip), out=folder, options=options, say=messages.append)
    assert (
        "report: scores.json is for other captions or settings, so these are scored again"
        in messages
    )
    assert "scored on 3 images" in (folder / "model" / "README.md").read_text()


@pytest.mark.slow
def test_control_characters_of_a_recipe_reach_neither_card_nor_report(
    done: Path, clip: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(done, tmp_path / "run"))
    control = "a\x1b[2J\u202e `b` <b>\n# c"
    settings = recipe(clip).model_dump()
    settings["description"] = control
    settings["data"]["revision"] = control
    options = RunOptions(start_from="report")
    messages: list[str] = []
    run(
        Recipe.model_validate(settings),
        only=["report"],
        out=folder,
        options=options,
        say=messages.append,
    )
    card = (folder / "model" / "README.md").read_text(encoding="utf-8")
    page = (folder / "report.html").read_text(encoding="utf-8")
    for text in (card, page):
        assert not {"\x1b", "\u202e"} & set(text)
    assert "\n# c" not in card
    assert "at revision `a[2J  b  <b> # c`" in card
    assert not {"\x1b", "\u202e"} & set((folder / "recipe.yaml").read_text(encoding="utf-8"))
