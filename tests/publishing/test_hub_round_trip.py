"""A shipped recipe with hub ids for data and model, from the first download to the pushed result.

The real clients in processes of their own, against a server of the hub's protocol on loopback.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import datasets
import pytest
import yaml
from huggingface_hub import ModelCard

import captune
from captune.data import make_shapes
from captune.models import build_size, train_tokenizer
from captune.recipe import TokenizerConfig
from support.hub.repos import READER, HubServer
from support.hub.server import hub_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PARQUET = "data/train-00000-of-00001.parquet"


@dataclass(frozen=True)
class Trip:
    """What one run with hub ids left behind.

    Attributes:
        hub: The server, still running.
        run: The run's folder.
        home: HF_HOME of its processes.
        requests: All that the run asked for, until it was over.
        said: What it printed, on both streams.
        revisions: Pinned commits of the data and of the model.
    """

    hub: HubServer
    run: Path
    home: Path
    requests: tuple[str, ...]
    said: str
    revisions: tuple[str, str]


def _call(trip_hub: HubServer, home: Path, *words: object, token: str = "hf_writer") -> str:
    done = subprocess.run(
        [sys.executable, "-m", "captune", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **trip_hub.environment(home, token)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def _fill(hub: HubServer, folder: Path) -> tuple[str, str]:
    """A set with columns `image` and `text`, and a tiny GIT; newer commits of both are junk."""
    records = make_shapes(40)
    columns = {
        "image": [{"bytes": record.image, "path": None} for record in records],
        "text": [record.captions[0] for record in records],
    }
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    (folder / "set" / "data").mkdir(parents=True)
    table = datasets.Dataset.from_dict(columns, features=features)
    table.to_parquet(folder / "set" / PARQUET)
    tokenizer = train_tokenizer(columns["text"], TokenizerConfig(kind="word", min_count=1))
    captioner = build_size("git-tiny", tokenizer)
    # After two steps from random weights, all tokens may be special: an empty caption.
    captioner.model.generation_config.suppress_tokens = tokenizer.all_special_ids
    captioner.save(folder / "git")
    data = hub.add("datasets/tiny/pictures", folder / "set")
    model = hub.add("models/tiny/git", folder / "git")
    pinned = data.head, model.head
    data.commit({PARQUET: b"junk"}, "break it")
    model.commit({"config.json": b"junk"}, "break it")
    return pinned


@pytest.fixture(scope="module")
def trip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trip]:
    folder = tmp_path_factory.mktemp("round-trip")
    with hub_server() as hub:
        revisions = _fill(hub, folder)
        # Both downloads break off half-way the first time.
        hub.cuts |= {"model.safetensors": 1, PARQUET: 1}
        settings = {
            "data.path": "tiny/pictures",
            "data.revision": revisions[0],
            "model.checkpoint": "tiny/git",
            "model.revision": revisions[1],
            "train.max_steps": 2,
            "train.push_to_hub": "me/live",
            "generate.max_new_tokens": 8,
            "evaluate.metrics": "[bleu,cider,wer]",
            "evaluate.bootstrap_samples": 100,
        }
        sets = [f"--set={key}={value}" for key, value in settings.items()]
        said = _call(hub, folder / "home", "run", "pokemon-git", "--out", folder / "run", *sets)
        yield Trip(hub, folder / "run", folder / "home", tuple(hub.requests), said, revisions)


def test_an_interrupted_download_resumes(trip: Trip) -> None:
    assert trip.hub.cuts == {"model.safetensors": 0, PARQUET: 0}
    for name in ("model.safetensors", PARQUET):
        assert len([r for r in trip.requests if re.search(rf"^GET .*/{name}", r)]) == 2
    assert (trip.run / "report.html").is_file()


def test_every_download_uses_the_pinned_revision(trip: Trip) -> None:
    asked = [r for r in trip.requests if re.search("^(GET|HEAD) /(datasets/)?tiny/", r)]
    # A commit is found by its name first; `datasets` also reads a card at its head.
    heads = [r for r in asked if "/resolve/main/" in r]
    assert all("README" in r for r in heads), heads
    for name, revision in zip((PARQUET, "model.safetensors"), trip.revisions, strict=True):
        files = [r for r in asked if name in r]
        assert files
        assert all(f"/resolve/{revision}/" in r for r in files)
    for name in ("config.json", "tokenizer.json", "preprocessor_config.json"):
        assert any(f"/resolve/{trip.revisions[1]}/{name}" in r for r in asked), name


def test_the_best_model_and_then_the_whole_run_were_pushed(trip: Trip) -> None:
    repo = trip.hub.repos["models/me/live"]
    assert repo.private
    assert repo.messages == ["initial commit", "Best model so far of run", "Push run with captune"]
    weights = (trip.run / "model" / "model.safetensors").read_bytes()
    assert [files.get("model.safetensors") for files in repo.commits.values()] == [
        None,
        weights,
        weights,
    ]
    assert f"pushed: {trip.hub.url}/me/live" in trip.said


def test_the_pushed_card_holds_the_metadata_that_the_hub_reads(trip: Trip) -> None:
    files = trip.hub.repos["models/me/live"].files
    card = ModelCard(files["README.md"].decode())
    assert card.data.base_model == ["tiny/git"]
    assert card.data.datasets == ["tiny/pictures"]
    assert card.data.pipeline_tag == "image-text-to-text"
    scores = json.loads((trip.run / "scores.json").read_text())["after"]
    results = {result.metric_type: result for result in card.data.eval_results}
    assert len(results) <= 6
    for name in ("bleu_4", "cider"):
        assert results[name].metric_value == pytest.approx(scores["metrics"][name], abs=1e-6)
        interval = results[name].metric_args["interval_95"]
        assert interval == pytest.approx(scores["intervals"][name], abs=1e-6)
        assert "95 % interval" in results[name].metric_name
        assert results[name].dataset_type == "tiny/pictures"
        assert results[name].dataset_revision == trip.revisions[0]
        assert results[name].dataset_split == "test"
    assert card.data.widget
    assert all(entry["src"] in files for entry in card.data.widget)
    linked = re.findall(r"!\[[^]]*\]\(([^)]+)\)", card.text)
    assert set(linked) >= {"plots/loss.png", "plots/before_after.png", "plots/captions.png"}
    assert all(name in files for name in linked)
    assert "| image | before training | this model | a human |" in card.text
    assert "**Not stated**" in card.text
    assert yaml.safe_load(files["recipe.yaml"])["model"]["checkpoint"] == "tiny/git"


def test_what_was_pushed_captions_like_the_run_when_loaded_by_id(
    trip: Trip, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(make_shapes(1)[0].image)
    reported = _call(trip.hub, trip.home, "push", trip.run, "me/again", "--private")
    assert f"{trip.hub.url}/me/again (private)" in reported
    out = tmp_path / "captions.jsonl"
    words = ("caption", "me/again", tmp_path / "a.png", "--out", out, "--max-new-tokens", 8)
    _call(trip.hub, trip.home, *words, token=READER)
    run = captune.load(trip.run / "model")
    (expected,) = run.caption(tmp_path / "a.png", max_new_tokens=8)
    assert json.loads(out.read_text())["caption"] == expected.caption != ""
