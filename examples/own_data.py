"""Your own images: a folder of photographs and a spreadsheet become a captioner with a report.

    python examples/own_data.py photos/ captions.csv

`captions.csv` has a column with file names and a column with captions, one caption per row; an
image may have several rows. The run's folder, `runs/own-data`, ends with `report.html`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import captune

SETTINGS: dict[str, dict[str, object]] = {
    "model": {"checkpoint": "Salesforce/blip-image-captioning-base", "freeze": ["vision"]},
    # With frozen vision each photograph is encoded once for all epochs.
    "train": {"epochs": 3, "learning_rate": 5e-5, "best_metric": "cider"},
    "generate": {"num_beams": 3},
}


def train_on(
    photos: Path, captions: Path, *, changes: Mapping[str, dict[str, object]] | None = None
) -> Path:
    """Train on the images and return the run's folder.

    Args:
        photos: Folder of the images.
        captions: CSV file with the columns `image` and `caption`, or similar names.
        changes: Sections that replace those of `SETTINGS`.
    """
    data = {"path": str(captions), "image_root": str(photos)}
    recipe = captune.Recipe.model_validate(
        {"name": "own-data", "data": data, **SETTINGS, **(changes or {})}
    )
    return captune.run(recipe, out="runs/own-data")


def main() -> None:
    photos, captions = map(Path, sys.argv[1:3])
    run = train_on(photos, captions)
    model = captune.load(run / "model")
    for prediction in model.caption(sorted(photos.glob("*.jpg"))[:3]):
        print(f"{prediction.image_id}: {prediction.caption}")


if __name__ == "__main__":
    main()
