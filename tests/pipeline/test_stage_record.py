"""Which stages are due after changes of the data's files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from captune.data import make_shapes
from captune.errors import DataError
from captune.pipeline import run
from captune.pipeline.folder_state import list_entries
from captune.pipeline.plan import RunOptions, plan_run
from captune.recipe import Recipe
from support.runs.recipes import recipe


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return an imagefolder with its captions in a subfolder."""
    folder = tmp_path / "photos"
    (folder / "train").mkdir(parents=True)
    rows = ["file_name,text"]
    for record in make_shapes(12, seed=1, image_size=64):
        (folder / "train" / f"{record.image_id}.png").write_bytes(bytes(record.image))
        rows.append(f'{record.image_id}.png,"{record.captions[0]}"')
    (folder / "train" / "metadata.csv").write_text("\n".join(rows))
    return folder


def prepare(settings: Recipe, out: Path) -> None:
    run(settings, only=["prepare"], out=out, say=lambda _: None)


def is_prepared(settings: Recipe, out: Path) -> bool:
    return plan_run(settings, only=["prepare"], out=out, options=RunOptions()).due == ()


def test_captions_edited_in_a_subfolder_are_prepared_again(photos, tmp_path) -> None:
    settings, out = recipe(data__path=str(photos)), tmp_path / "run"
    prepare(settings, out)
    assert is_prepared(settings, out)
    file = photos / "train" / "metadata.csv"
    file.write_text(file.read_text().replace("a ", "one "))
    assert not is_prepared(settings, out)


@pytest.mark.parametrize("target", ["stages.json", "a-disk-that-is-gone"])
def test_a_link_that_leads_nowhere_is_not_taken_for_a_new_run(photos, tmp_path, target) -> None:
    settings, out = recipe(data__path=str(photos)), tmp_path / "run"
    prepare(settings, out)
    (out / "stages.json").unlink()
    (out / "stages.json").symlink_to(target)
    with pytest.raises(DataError, match=r"cannot read .*stages\.json"):
        is_prepared(settings, out)


def test_an_image_added_two_folders_below_is_prepared_again(photos, tmp_path) -> None:
    settings, out = recipe(data__path=str(photos)), tmp_path / "run"
    (photos / "train" / "more").mkdir()
    prepare(settings, out)
    (photos / "train" / "more" / "new.png").write_bytes(b"new")
    assert not is_prepared(settings, out)


def test_a_hidden_file_two_folders_below_changes_nothing(photos, tmp_path) -> None:
    settings, out = recipe(data__path=str(photos)), tmp_path / "run"
    (photos / "train" / "more").mkdir()
    prepare(settings, out)
    (photos / "train" / "more" / ".DS_Store").write_bytes(b"x")
    assert is_prepared(settings, out)


def test_runs_inside_the_folder_of_the_data_change_nothing(photos) -> None:
    settings, out = recipe(data__path=str(photos)), photos / "runs" / "first"
    prepare(settings, out)
    assert is_prepared(settings, out)
    prepare(settings, photos / "runs" / "second")
    assert is_prepared(settings, out)


def test_a_stage_finished_by_an_older_version_stays_finished(photos, tmp_path) -> None:
    settings, out = recipe(data__path=str(photos)), tmp_path / "run"
    prepare(settings, out)
    record = json.loads((out / "stages.json").read_text())
    del record["prepare"]["subfolders"]
    (out / "stages.json").write_text(json.dumps(record))
    assert is_prepared(settings, out)


def test_entries_are_listed_as_by_older_versions(photos, tmp_path) -> None:
    (photos / "broken").symlink_to(tmp_path / "absent")
    (photos / "circle").symlink_to("circle")
    (photos / "link").symlink_to(photos / "train" / "metadata.csv")
    (photos / "ä.txt").write_text("x")
    os.utime(photos / "ä.txt", ns=(1, 12_345_678_901))
    entries = [entry for entry in sorted(photos.iterdir()) if entry.exists()]
    facts = [(e.name, e.stat().st_size, e.stat().st_mtime_ns) for e in entries]
    assert list_entries(photos, without=tmp_path / "run") == json.dumps(facts)
    one = photos / "link"
    alone = [(one.name, one.stat().st_size, one.stat().st_mtime_ns)]
    assert list_entries(one, without=tmp_path) == json.dumps(alone)


def test_a_link_to_itself_in_a_subfolder_does_not_hide_changes(photos, tmp_path) -> None:
    settings, out = recipe(data__path=str(photos)), tmp_path / "run"
    (photos / "train" / "circle").symlink_to("circle")
    prepare(settings, out)
    assert is_prepared(settings, out)
    (photos / "train" / "metadata.csv").touch()
    os.utime(photos / "train" / "metadata.csv", ns=(1, 12_345_678_901))
    assert not is_prepared(settings, out)
