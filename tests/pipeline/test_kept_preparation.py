"""The result of prepare is reused exactly if data and settings are unchanged."""

from __future__ import annotations

import json
import os
import shutil
import time

import pytest
from PIL import Image

from captune.pipeline.folder_state import digest_files
from captune.pipeline.kept_preparation import KeptPreparation
from captune.pipeline.stages import Job
from captune.pipeline.stages.prepare import prepare
from captune.recipe import Recipe
from captune.training import Team

COUNT = 70
FILES = (
    "splits/train.jsonl",
    "splits/val.jsonl",
    "splits/test.jsonl",
    "data_check.json",
    "skipped_images.jsonl",
    "splits.json",
)
AGAIN = "data and settings are as in an earlier run: its check and splits are used again"


def write_data(folder):
    (folder / "images").mkdir(parents=True)
    lines = []
    for number in range(COUNT):
        name = f"images/{number}.png"
        Image.new("RGB", (8, 8), (number % 256, number * 3 % 256, 90)).save(folder / name)
        caption = f"a picture number {number % 20}"
        lines.append(json.dumps({"image": name, "captions": [caption, "colour"]}))
    (folder / "images" / "3.png").write_bytes(b"broken")
    (folder / "captions.jsonl").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = write_data(tmp_path_factory.mktemp("data") / "set")
    time.sleep(2.2)
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CAPTUNE_CACHE", str(tmp_path / "cache"))
    # Large enough to be kept.
    monkeypatch.setattr("captune.pipeline.kept_preparation._MIN_IMAGES", 50)
    return tmp_path / "cache"


def make_recipe(folder, **settings):
    values = {
        "name": "kept",
        "data": {"path": str(folder / "captions.jsonl"), "max_bad_fraction": 0.1},
        "model": {"size": "blip-tiny", "new_tokenizer": {"kind": "word", "min_count": 1}},
        **settings,
    }
    return Recipe.model_validate(values)


def run_prepare(recipe, folder):
    folder.mkdir(parents=True)
    lines = []
    prepare(Job(recipe, folder, resume=False, say=lines.append, team=Team(0, 1, None)))
    return {name: (folder / name).read_bytes() for name in FILES}, lines


@pytest.mark.slow
def test_a_second_run_uses_the_result_of_the_first_and_prints_the_same(data, tmp_path):
    recipe = make_recipe(data)
    first, said = run_prepare(recipe, tmp_path / "one")
    again, lines = run_prepare(recipe, tmp_path / "two")
    assert again == first
    assert AGAIN in lines
    assert [line for line in lines if line != AGAIN] == [
        line for line in said if not line.startswith("reading images")
    ]


def test_the_paths_of_the_images_are_right_for_the_new_run_folder(data, tmp_path):
    run_prepare(make_recipe(data), tmp_path / "one")
    again, _ = run_prepare(make_recipe(data), tmp_path / "deep" / "two")
    summary = json.loads(again["splits.json"])
    assert summary["image_root_from_here"] == os.path.relpath(
        summary["image_root"], tmp_path / "deep" / "two"
    )


def test_other_settings_prepare_again(data, tmp_path):
    run_prepare(make_recipe(data), tmp_path / "one")
    _, lines = run_prepare(make_recipe(data, seed=7), tmp_path / "two")
    assert AGAIN not in lines


@pytest.mark.parametrize(
    "damage", ["splits/val.jsonl", "data_check.json", "splits.json", "meta.json"]
)
def test_a_damaged_result_is_prepared_again(data, tmp_path, cache, damage):
    first, _ = run_prepare(make_recipe(data), tmp_path / "one")
    (place,) = (cache / "prepared").iterdir()
    content = (place / damage).read_text()
    (place / damage).write_text(content.replace("1", "2", 1))
    again, lines = run_prepare(make_recipe(data), tmp_path / "two")
    assert AGAIN not in lines
    assert again == first


@pytest.mark.slow
def test_temporary_failures_are_not_kept(data, tmp_path, cache):
    (data / "images" / "5.png").rename(tmp_path / "away.png")
    try:
        time.sleep(0.1)
        run_prepare(make_recipe(data), tmp_path / "one")
        assert not (cache / "prepared").exists()
    finally:
        (tmp_path / "away.png").rename(data / "images" / "5.png")
        time.sleep(2.2)


def test_a_cache_that_does_not_fit_the_disk_is_reported_in_one_line(
    data, tmp_path, cache, monkeypatch
):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    files, lines = run_prepare(make_recipe(data), tmp_path / "one")
    assert len(files) == len(FILES)
    (line,) = [each for each in lines if "not kept" in each]
    assert line.endswith(f" kB are free in {cache / 'prepared'}")
    assert not list((cache / "prepared").iterdir())


def test_a_cache_folder_that_cannot_be_written_is_reported_in_one_line(data, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CAPTUNE_CACHE", str(tmp_path / "file"))
    _, lines = run_prepare(make_recipe(data), tmp_path / "one")
    assert [each for each in lines if each.startswith("the check and the splits are not kept")]


@pytest.mark.slow
def test_changed_added_and_removed_files_are_noticed(tmp_path):
    folder = tmp_path / "set"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "1.jpg").write_bytes(b"1")
    (folder / "2.jpg").write_bytes(b"2")
    (folder / "link").symlink_to(folder / "a")
    assert digest_files([folder]) is None, "the files are young"
    time.sleep(2.2)
    before = digest_files([folder])
    assert before is not None
    assert digest_files([folder]) == before
    assert digest_files([folder], 3) is None
    assert digest_files([folder, tmp_path / "absent"]) != before
    state = (folder / "2.jpg").stat()
    (folder / "2.jpg").write_bytes(b"3")
    os.utime(folder / "2.jpg", ns=(state.st_atime_ns, state.st_mtime_ns))
    time.sleep(2.2)
    changed = digest_files([folder])
    assert changed not in (None, before)
    (folder / "a" / "1.jpg").rename(folder / "a" / "3.jpg")
    time.sleep(2.2)
    renamed = digest_files([folder])
    assert renamed not in (None, before, changed)
    (folder / "a" / "new").mkdir()
    assert digest_files([folder]) not in (None, renamed)


def test_data_without_files_on_this_disk_is_not_kept(data):
    assert KeptPreparation.of(make_recipe(data, data={"path": "shapes:20"})) is None
