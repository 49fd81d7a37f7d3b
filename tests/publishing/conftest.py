"""A finished run to push."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from captune.data import save_splits
from captune.recipe import load_recipe, save_recipe
from captune.records import CaptionRecord
from support.models.tiny_models import build

CARD = """---
library_name: transformers
tags:
- captune
---

# shapes-run

![loss](../plots/loss.png)
![captions](../plots/captions.png)
![gone](../plots/gone.png)

```python
print(captune.load("THIS_FOLDER").caption("photo.jpg")[0].caption)
```
"""


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    build("blip-tiny").save(folder)
    return folder


@pytest.fixture
def run(tmp_path: Path, saved_model: Path) -> Path:
    """A finished run as the pipeline leaves it, with a tiny model."""
    folder, photos = tmp_path / "runs" / "mine", tmp_path / "secret-project"
    shutil.copytree(saved_model, folder / "model")
    (folder / "plots").mkdir()
    photos.mkdir()
    (folder / "model" / ".cache").write_bytes(b"not for others")
    (folder / "model" / "README.md").write_text(CARD)
    for name in ("loss", "captions", "samples", "before_after"):
        Image.new("RGB", (8, 8), "white").save(folder / "plots" / f"{name}.png")
    (folder / "scores.json").write_text("{}")
    records = []
    for number in range(5):
        place = photos / f"{number}.png"
        Image.new("RGB", (900, 600), (number * 40, 0, 0)).save(place)
        records.append(CaptionRecord(f"i{number}", place, ("a",), "test", file_name=place.name))
    (photos / "1.png").unlink()
    save_splits(records, folder, seed=None, by="image")
    rows = [{"image_id": f"i{n}", "caption": f"caption {n}" if n else ""} for n in range(5)]
    (folder / "predictions").mkdir()
    (folder / "predictions" / "after.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    save_recipe(load_recipe("demo", [f"data.path={photos}"]), folder / "recipe.yaml")
    return folder
