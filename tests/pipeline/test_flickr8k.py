"""The shipped flickr8k-cpu recipe on a few hundred real photographs, from JPEG to report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from captune.pipeline import run
from captune.recipe import load_recipe
from captune.training.tracking import read_log

pytestmark = [pytest.mark.real_data, pytest.mark.slow, pytest.mark.timeout(300)]


def small_copy(source: Path, folder: Path, *, train: int, val: int) -> Path:
    """Copy the first photographs of each list, in the layout of the whole set."""
    (folder / "Images").mkdir(parents=True)
    lists = {"Flickr_8k.trainImages.txt": train, "Flickr_8k.devImages.txt": val}
    for name, count in lists.items():
        names = (source / name).read_text().split()[:count]
        (folder / name).write_text("\n".join(names))
        for image in names:
            (folder / "Images" / image).symlink_to(source / "Images" / image)
    header, *rows = (source / "captions.txt").read_text().splitlines()
    kept = {path.name for path in (folder / "Images").iterdir()}
    rows = [row for row in rows if row.partition(",")[0] in kept]
    (folder / "captions.txt").write_text("\n".join([header, *rows]))
    return folder


def test_the_recipe_learns_from_photographs_and_writes_the_report(tmp_path, real_data) -> None:
    source = (real_data / "flickr8k").resolve()
    data = small_copy(source, tmp_path / "flickr8k", train=112, val=16)
    encoder = real_data / "weights" / "mobilenet_v2_1.0_224-hf"
    recipe = load_recipe(
        "flickr8k-cpu",
        [
            f"data.path={data}",
            f"model.encoder={encoder.resolve()}",
            "data.views=[original, flip]",
            "data.num_workers=0",
            # Two of the five captions per image in each epoch.
            "data.max_captions=2",
            "train.epochs=2",
            "train.micro_batch_size=16",
            "train.global_batch_size=16",
            "train.warmup_steps=4",
            "train.log_every=1",
            "train.validate_images=8",
            "train.validate_every=14",
            "evaluate.bootstrap_samples=100",
        ],
    )
    messages: list[str] = []
    out = run(recipe, out=tmp_path / "run", say=messages.append)
    losses = [row["loss"] for row in read_log(out / "log.jsonl") if "loss" in row]
    assert len(losses) == 14
    assert sum(losses[-4:]) / 4 < 0.85 * losses[0]
    scores = json.loads((out / "scores.json").read_text())
    assert scores["after"]["num_images"] == 16
    assert "bleu_4" in scores["after"]["metrics"]
    assert list((out / "feature_cache").glob("train-*.npy"))
    splits = json.loads((out / "splits.json").read_text())["splits"]
    assert {name: splits[name]["unique_images"] for name in splits} == {
        "train": 112,
        "val": 16,
        "test": 0,
    }
    assert (out / "report.html").stat().st_size > 50_000
