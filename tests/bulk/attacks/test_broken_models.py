"""A model that crashes or hangs on one image costs that image."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from captune.errors import ModelError
from support.bulk.hostile_images import photo, write_photos
from support.bulk.library import StubModel, caption
from support.bulk.stub_captioner import StubCaptioner, caption_of, poison

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals that end a process")


def test_a_model_that_fails_before_it_takes_an_image_ends_the_run(tmp_path, model):
    class Gone(StubCaptioner):
        def stream(self, images, **settings):
            raise ModelError("the model is gone")

    class GoneModel(StubModel):
        def load(self, num_images, *, was_killed=False):
            return Gone(self.folder)

    photos = write_photos(tmp_path / "photos", 2)[0].parent
    with pytest.raises(ModelError, match="the model is gone"):
        caption(GoneModel(model), photos, to=("txt",))
    assert caption(model, photos, to=("txt",)).outcome.num_done == 2


@pytest.mark.slow
def test_a_run_that_the_model_crashed_gets_past_that_image_when_repeated(tmp_path, model, captune):
    paths = write_photos(tmp_path / "photos", 12)
    poison("crash").save(tmp_path / "photos" / "photo000005x.png")
    command = captune("caption", model, "photos", "--to", "txt", "--batch-size", 4, is_alone=True)
    codes = [command.run().code]
    while codes[-1] < 0 and len(codes) < 4:
        codes.append(command.run().code)
    assert codes[-1] == 3
    (failures,) = (tmp_path / "photos").rglob("*failures.jsonl")
    (row,) = [json.loads(line) for line in failures.read_text().splitlines()]
    assert (Path(row["image_id"]).name, row["code"]) == ("photo000005x.png", "worker_crash")
    texts = {path.stem: path.read_text().strip() for path in (tmp_path / "photos").glob("*.txt")}
    assert texts == {path.stem: caption_of(photo(n)) for n, path in enumerate(paths)}
