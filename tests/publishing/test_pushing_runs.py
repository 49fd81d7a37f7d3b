"""`train.push_to_hub` in a whole run, by both engines: what reaches the hub, and what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from captune.models import load_captioner
from captune.pipeline import run
from captune.recipe import Recipe
from support.hub.repos import HubServer
from support.runs.recipes import recipe as tiny_recipe


def recipe(engine: str, **push: Any) -> Recipe:
    train = {"engine": engine, "max_steps": 2, "validate_every": 1, "best_metric": "loss"}
    settings = {f"train__{key}": value for key, value in {**train, **push}.items()}
    return tiny_recipe(
        **{"train__push_to_hub": "me/tiny", **settings},
        generate__max_new_tokens=4,
        evaluate={"metrics": ["bleu"], "baseline": False, "bootstrap_samples": 100},
    )


def pictures(files: dict[str, bytes]) -> set[str]:
    return {name for name in files if name.endswith((".png", ".jpg"))}


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["loop", "trainer"])
def test_the_best_model_and_then_the_run_reach_the_hub(
    hub: HubServer, tmp_path: Path, engine: str
) -> None:
    folder = run(recipe(engine), out=tmp_path / "run", say=lambda _: None)
    repo = hub.repos["models/me/tiny"]
    assert repo.private
    # The second best model may come before the first one is sent: then it is sent in its place.
    assert repo.messages[1] == "Best model so far of run"
    assert repo.messages[-1] == "Push run with captune"
    weights = (folder / "model" / "model.safetensors").read_bytes()
    *on_the_way, last = list(repo.commits.values())[1:]
    assert on_the_way[-1]["model.safetensors"] == last["model.safetensors"] == weights
    assert pictures(on_the_way[-1]) == set()
    assert {"examples/1.jpg", "plots/samples.png", "plots/captions.png"} <= pictures(last)
    aside = tmp_path / "pushed"
    for name, content in last.items():
        (aside / name).parent.mkdir(parents=True, exist_ok=True)
        (aside / name).write_bytes(content)
    assert load_captioner(aside).family == "blip"


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["loop", "trainer"])
def test_a_recipe_can_push_without_images(hub: HubServer, tmp_path: Path, engine: str) -> None:
    run(recipe(engine, push_images=False), out=tmp_path / "run", say=lambda _: None)
    repo = hub.repos["models/me/tiny"]
    for files in repo.commits.values():
        assert pictures(files) <= {"plots/loss.png", "plots/before_after.png"}
    card = repo.files["README.md"].decode()
    assert "widget" not in card
    assert "samples.png" not in card
    assert "push_images: false" in repo.files["recipe.yaml"].decode()


@pytest.mark.slow
def test_a_failed_push_of_a_run_shows_the_command_without_images(
    hub: HubServer, tmp_path: Path
) -> None:
    hub.refusals.append(("^POST .*/commit/", 400))
    said: list[str] = []
    folder = run(recipe("loop", push_images=False), out=tmp_path / "run", say=said.append)
    assert (folder / "report.html").is_file()
    assert f"  push it later: captune push {folder} me/tiny --private --no-images" in said
