"""Images in zips and tars from reading to batches: the pixels of files, from workers too."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile

import pytest
import torch

from captune.data import assign_splits, load_records, load_splits, save_splits, write_dataset
from captune.models import build_captioner
from captune.recipe import Recipe
from captune.training.batches.feeding import Feed, tokenize_records


def write_forms(folder):
    """The built-in shapes as files, as a Hephaestus zip and as WebDataset shards."""
    records = load_records("shapes:16").records
    write_dataset(records, folder / "files", format="imagefolder")
    (folder / "zips").mkdir()
    with (
        zipfile.ZipFile(folder / "zips" / "images.zip", "w", zipfile.ZIP_DEFLATED) as images,
        zipfile.ZipFile(folder / "zips" / "annotations.zip", "w") as annotations,
    ):
        for record in records:
            images.writestr(f"{record.image_id}.png", record.image)
            captions = list(record.captions)
            value = {"uniqueID": record.image_id, "frameID": record.group, "caption": captions}
            annotations.writestr(f"{record.image_id}.json", json.dumps(value))
    for shard in range(2):
        (folder / "tars").mkdir(exist_ok=True)
        with tarfile.open(folder / "tars" / f"{shard:03d}.tar", "w") as archive:
            for record in records[shard::2]:
                files = {"png": record.image, "txt": "\n".join(record.captions).encode()}
                for suffix, content in files.items():
                    info = tarfile.TarInfo(f"{record.image_id}.{suffix}")
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
    return {name: load_records(folder / name).records for name in ("files", "zips", "tars")}


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_from_archives_equal_those_from_files(tmp_path, num_workers):
    recipe = Recipe.model_validate(
        {
            "data": {"num_workers": num_workers},
            "model": {"size": "blip-tiny"},
            "train": {"micro_batch_size": 4, "global_batch_size": 4, "device": "cpu"},
        }
    )
    forms = write_forms(tmp_path)
    captions = [caption for record in forms["files"] for caption in record.captions]
    captioner = build_captioner(recipe.model, captions, seed=0)
    batches = {}
    for name, records in forms.items():
        ordered = sorted(records, key=lambda record: record.image_id)
        save_splits(assign_splits(ordered), tmp_path / f"run-{name}")
        again = sorted(load_splits(tmp_path / f"run-{name}"), key=lambda record: record.image_id)
        feed = Feed(
            captioner, tokenize_records(captioner, again, recipe=recipe), recipe, ("original",)
        )
        batches[name] = [batch for step in feed.batches(feed.plan(0)) for batch in step]
        assert feed.failures == {}
    for name in ("zips", "tars"):
        for ours, plain in zip(batches[name], batches["files"], strict=True):
            assert ours.image_ids == plain.image_ids
            assert torch.equal(ours.vision_inputs.pixel_values, plain.vision_inputs.pixel_values)
            assert torch.equal(ours.input_ids, plain.input_ids)
