"""Runs whose recipe or data cannot work, and images that cannot be read."""

from __future__ import annotations

import json
import os
import re

import pytest
from transformers import AutoTokenizer

from captune.data import load_splits, make_shapes
from captune.errors import (
    CaptuneError,
    DataError,
    MetricError,
    ModelError,
    OutputError,
    RecipeError,
)
from captune.pipeline import run
from support.runs.recipes import recipe


@pytest.mark.parametrize(
    ("overrides", "kind", "text"),
    [
        ({"data__path": "nowhere"}, DataError, "nowhere"),
        ({"evaluate__metrics": ["cidr"]}, MetricError, "'cider'?)\n  where: evaluate.metrics"),
        ({"train__best_metric": "blue_4"}, MetricError, "?)\n  where: train.best_metric"),
        ({"train__device": "quantum"}, RecipeError, "quantum"),
        ({"model__freeze": ["visio"]}, CaptuneError, "visio"),
        ({"model": {"checkpoint": "./no-model"}}, CaptuneError, "no-model"),
    ],
)
def test_settings_that_cannot_work_are_named_in_an_error(tmp_path, overrides, kind, text) -> None:
    with pytest.raises(kind) as error:
        run(recipe(**overrides), out=tmp_path, say=lambda _: None)
    assert text in str(error.value)
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"path": "PIPE"}, "is a pipe, not a regular file"),
        ({"path": "EMPTY"}, "is empty: 0 bytes"),
        ({"path": "shapes:many"}, "not a number of images"),
        ({"path": ".", "split_files": {"test": "PIPE"}}, "is a pipe, not a regular file"),
    ],
)
def test_unreadable_data_is_an_error_before_any_work(tmp_path, data, text) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty.csv").write_text("")
    places = {"PIPE": str(tmp_path / "pipe"), "EMPTY": str(tmp_path / "empty.csv")}
    data["path"] = places.get(data["path"], data["path"])
    lists = {split: places[name] for split, name in data.get("split_files", {}).items()}
    messages: list[str] = []
    with pytest.raises(DataError, match=text):
        run(recipe(data={**data, "split_files": lists}), out=tmp_path / "run", say=messages.append)
    assert messages == []
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ({"checkpoint": "EMPTY"}, "has no config.json"),
        ({"encoder": "EMPTY"}, "has no config.json"),
        ({"checkpoint": "./absent"}, "does not exist"),
        ({"size": "blip-tinny"}, "did you mean 'blip-tiny'"),
    ],
)
def test_an_unusable_model_is_an_error_before_any_work(tmp_path, model, text) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    model = {key: str(empty) if value == "EMPTY" else value for key, value in model.items()}
    messages: list[str] = []
    with pytest.raises(ModelError, match=text) as error:
        run(recipe(model=model), out=tmp_path / "run", say=messages.append)
    assert error.value.where.startswith("model.")
    assert messages == []
    assert not (tmp_path / "run").exists()


def test_an_empty_split_is_an_error(tmp_path) -> None:
    with pytest.raises(DataError, match=r"split|few"):
        run(recipe(data__path="shapes:2"), out=tmp_path, say=lambda _: None)
    shares = {"train": 0, "val": 0.5, "test": 0.5}
    settings = recipe(data__path="shapes:2", data__split_fractions=shares)
    with pytest.raises(DataError, match="the split train has no images") as caught:
        run(settings, out=tmp_path, say=lambda _: None)
    assert "data.split_fractions" in caught.value.fix


@pytest.mark.parametrize("baseline", [True, False])
def test_a_run_without_an_image_to_score_stops_before_it_trains(tmp_path, baseline) -> None:
    settings = recipe(
        data__split_fractions={"train": 0.8, "val": 0.2, "test": 0.0},
        evaluate__baseline=baseline,
        train__max_steps=1,
    )
    with pytest.raises(DataError, match="the split test has no images") as caught:
        run(settings, out=tmp_path, say=lambda _: None)
    assert caught.value.where == "evaluate.split"
    assert not (tmp_path / "log.jsonl").exists()
    # Training alone, without a baseline, needs no test image.
    if not baseline:
        run(settings, out=tmp_path, only=["train"], say=lambda _: None)
        assert (tmp_path / "model").is_dir()


def test_a_folder_that_cannot_be_created_is_an_error_before_any_work(tmp_path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"cannot write .*run: Not a directory") as error:
        run(recipe(), out=tmp_path / "file" / "run", say=lambda _: None)
    assert error.value.fix.startswith("choose another path")


def test_broken_images_are_listed_and_too_many_stop_the_run(tmp_path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for record in make_shapes(30, seed=1):
        (folder / f"{record.image_id}.png").write_bytes(bytes(record.image))
        (folder / f"{record.image_id}.txt").write_text("\n".join(record.captions))
    broken = sorted(folder.glob("*.png"))[0]
    broken.write_bytes(broken.read_bytes()[:200])
    out = run(
        recipe(data__path=str(folder)), only=["prepare"], out=tmp_path / "a", say=lambda _: None
    )
    skipped = [json.loads(x) for x in (out / "skipped_images.jsonl").read_text().splitlines()]
    assert [(s["image_id"], s["reason"]) for s in skipped] == [(broken.name, "truncated")]
    assert broken.name not in {r.image_id for r in load_splits(out)}
    for path in sorted(folder.glob("*.png"))[1:6]:
        path.write_bytes(b"<html>")
    with pytest.raises(DataError, match=r"data\.max_bad_fraction"):
        run(recipe(data__path=str(folder)), out=tmp_path / "b", say=lambda _: None)


def test_the_check_counts_the_captions_that_training_truncates(tmp_path) -> None:
    messages: list[str] = []
    settings = recipe(data={"path": "shapes:40", "max_caption_tokens": 8}, train__max_steps=1)
    run(settings, only=["prepare", "train"], out=tmp_path, say=messages.append)
    check = json.loads((tmp_path / "data_check.json").read_text())
    cut = [int(n) for n in re.findall(r"(\d+) captions truncated to 8 tokens", "\n".join(messages))]
    assert sum(cut) > 0
    # Captions for training and validation are truncated; those of the test split are not used.
    longest = 8 - 2
    test = [c for r in load_splits(tmp_path) if r.split == "test" for c in r.captions]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    own = [len(tokenizer(c, add_special_tokens=False).input_ids) for c in test]
    assert check["num_cut"] == sum(cut) + sum(length > longest for length in own)
