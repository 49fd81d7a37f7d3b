"""Images that disappear between the stages of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from captune.data import load_splits, make_shapes
from captune.errors import DataError
from captune.pipeline import run
from captune.recipe import Recipe
from support.runs.recipes import recipe


def prepared(folder: Path, lines: list[str]) -> tuple[Recipe, list[Path]]:
    """Prepare a set of 60 images in files; return its recipe and the images of its test split."""
    data = folder / "set"
    data.mkdir()
    for record in make_shapes(60, seed=1, image_size=64):
        (data / f"{record.image_id}.png").write_bytes(bytes(record.image))
        (data / f"{record.image_id}.txt").write_text(record.captions[0])
    settings = recipe(
        data={"path": str(data), "num_workers": 0, "max_bad_fraction": 0.2},
        evaluate={"metrics": ["bleu"], "bootstrap_samples": 100},
    )
    run(settings, only=["prepare"], out=folder / "run", say=lines.append)
    scored = [r.image for r in load_splits(folder / "run") if r.split == "test"]
    return settings, [image for image in scored if isinstance(image, Path)]


def test_many_lost_images_end_the_stage_instead_of_scoring_the_rest(tmp_path: Path) -> None:
    lines: list[str] = []
    settings, images = prepared(tmp_path, lines)
    assert len(images) == 6
    images[0].unlink()
    images[1].unlink()
    with pytest.raises(DataError, match=r"2 of 6 images to score can no longer be read") as caught:
        run(settings, only=["baseline"], out=tmp_path / "run", say=lines.append)
    assert "(missing)" in caught.value.where
    assert "resumes with this stage" in caught.value.fix
    assert not (tmp_path / "run" / "predictions" / "before.jsonl").exists()


def test_a_single_lost_image_is_reported_and_the_others_are_captioned(tmp_path: Path) -> None:
    lines: list[str] = []
    settings, images = prepared(tmp_path, lines)
    images[0].unlink()
    run(settings, only=["baseline"], out=tmp_path / "run", say=lines.append)
    assert [line for line in lines if "neither captioned nor scored" in line]
    rows = (tmp_path / "run" / "predictions" / "before.jsonl").read_text().splitlines()
    assert len(rows) == 5
