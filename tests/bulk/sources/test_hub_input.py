"""A data set of the hub is captioned row by row, with the hub's real client and a local server."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from captune.bulk import find_items
from captune.errors import DataError
from support.bulk.hostile_images import photo
from support.bulk.kills import CaptuneCommand, Ended
from support.bulk.stub_captioner import caption_of, write_stub
from support.hub.repos import HubServer
from support.hub.server import hub_server

datasets = pytest.importorskip("datasets")
SET = "tiny/photos"


def write_set(folder: Path, splits: dict[str, list[Image.Image]]) -> Path:
    """Write the repository of a data set: one Parquet file per split."""
    (folder / "data").mkdir(parents=True)
    for split, images in splits.items():
        features = datasets.Features({"image": datasets.Image()})
        rows = datasets.Dataset.from_dict({"image": images}, features=features)
        rows.to_parquet(str(folder / "data" / f"{split}-00000-of-00001.parquet"))
    return folder


def run(tmp_path: Path, hub: HubServer, *words: object, data_set: str = SET) -> Ended:
    model = write_stub(tmp_path / "model")
    command = CaptuneCommand(
        ["caption", model, data_set, "--out", "o.jsonl", "--backend", "torch", *words],
        folder=tmp_path,
        environment={
            **hub.environment(tmp_path / "home"),
            "HF_DATASETS_OFFLINE": "0",
            "CAPTUNE_CACHE": str(tmp_path / "cache"),
        },
    )
    return command.run()


@pytest.mark.slow
def test_every_row_of_a_hub_data_set_is_captioned_once_and_skipped_the_second_time(tmp_path):
    write_set(tmp_path / "set", {"train": [photo(0), photo(1)], "test": [photo(2)]})
    with hub_server() as hub:
        hub.add(f"datasets/{SET}", tmp_path / "set")
        stopped = run(tmp_path, hub, "--limit", 1)
        assert stopped.code == 0, stopped.err
        ended = run(tmp_path, hub)
        assert ended.code == 0, ended.err
        again = run(tmp_path, hub)
    rows = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert {row["image_id"]: row["caption"] for row in rows} == {
        f"{SET}/train/000000000": caption_of(photo(0)),
        f"{SET}/train/000000001": caption_of(photo(1)),
        f"{SET}/test/000000000": caption_of(photo(2)),
    }
    assert len(rows) == 3
    assert "3 already had a caption" in again.err


@pytest.mark.slow
def test_a_hub_data_set_that_does_not_exist_is_named_before_anything_is_written(tmp_path):
    with hub_server() as hub:
        ended = run(tmp_path, hub)
    assert (ended.code, SET in ended.err) == (2, True)
    assert not (tmp_path / "o.jsonl").exists()


@pytest.mark.slow
def test_a_revision_of_a_hub_data_set_is_captioned(tmp_path):
    write_set(tmp_path / "old", {"train": [photo(0)]})
    write_set(tmp_path / "new", {"train": [photo(1)]})
    with hub_server() as hub:
        old = f"{SET}@{hub.add(f'datasets/{SET}', tmp_path / 'old').head}"
        hub.add(f"datasets/{SET}", tmp_path / "new")
        ended = run(tmp_path, hub, data_set=old)
    assert ended.code == 0, ended.err
    row = json.loads((tmp_path / "o.jsonl").read_text())
    assert row["image_id"] == f"{old}/train/000000000"
    assert row["caption"] == caption_of(photo(0))


@pytest.mark.parametrize("text", ["tiny/photos@", "tiny/photos.jpg@v1", "photos@v1"])
def test_other_names_with_an_at_sign_are_files(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=re.escape(text)):
        list(find_items((text,)))
