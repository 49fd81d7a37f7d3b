"""Rows of a data set, in the forms that scripts use, become inputs."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

from captune.data import decode_image
from captune.errors import DataError
from captune.training import CaptionCollator, CaptionTrainer
from support.runs.trainer_script import arguments, history


@pytest.mark.slow
def test_hub_rows_streamed_rows_and_workers_are_read(tmp_path, shapes, build) -> None:
    import datasets

    def rows():
        for record in shapes[0][:8]:
            image = {"bytes": _png(record), "path": None}
            yield {"image": image, "text": record.captions[0], "license": "none"}

    features = datasets.Features(
        image=datasets.Image(), text=datasets.Value("string"), license=datasets.Value("string")
    )
    stored = datasets.Dataset.from_generator(
        rows, features=features, cache_dir=str(tmp_path / "cache")
    )
    losses = []
    for data, workers in ((stored, 0), (stored, 2), (stored.to_iterable_dataset(), 0)):
        args = arguments(tmp_path, dataloader_num_workers=workers)
        trainer = CaptionTrainer(build(), args, train_dataset=data)
        trainer.train()
        losses.append(history(trainer, "loss"))
    assert losses[0] == losses[1] == losses[2]
    assert all(math.isfinite(loss) for loss in losses[0])


def _png(record) -> bytes:
    file = io.BytesIO()
    decode_image(record.image).save(file, "PNG")
    return file.getvalue()


def test_collated_rows_equal_those_of_the_captioner(shapes, build) -> None:
    captioner = build()
    records = shapes[0][:3]
    inputs = CaptionCollator(captioner, max_caption_tokens=6)(records)
    expected = captioner.batch(
        [r.captions for r in records], [r.image_id for r in records], max_caption_tokens=6
    )
    for name in ("input_ids", "position_ids", "caption_ids", "labels"):
        assert torch.equal(inputs[name], getattr(expected, name)), name
    pixels = captioner.pixel_values([decode_image(r.image) for r in records])
    assert torch.equal(inputs["pixel_values"], pixels)


def test_an_image_is_accepted_in_any_form(tmp_path, shapes, build) -> None:
    captioner = build()
    image = decode_image(shapes[0][0].image)
    image.save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    pixels = captioner.pixel_values([image])[0]
    forms = [image, np.asarray(image), data, tmp_path / "a.png", str(tmp_path / "a.png")]
    forms += [{"bytes": data, "path": None}, {"bytes": None, "path": str(tmp_path / "a.png")}]
    inputs = CaptionCollator(captioner)([{"photo": form, "text": "a"} for form in forms])
    assert all(torch.equal(row, pixels) for row in inputs["pixel_values"])
    # As `datasets` gives them, with and without a format, and as a processor returns them.
    for ready in (pixels, pixels.numpy(), pixels.tolist(), pixels[None]):
        inputs = CaptionCollator(captioner)([{"pixel_values": ready, "text": "a"}])
        assert torch.equal(inputs["pixel_values"][0], pixels)


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({"image": np.zeros((8, 8, 3))}, r"array of float64 \(8, 8, 3\)"),
        ({"image": np.zeros((3, 8, 8), np.uint8)}, r"array of uint8 \(3, 8, 8\)"),
        ({"image": [[1, 2], [3, 4]]}, "of type list"),
        ({"image": 3}, "of type int"),
        ({"pixel_values": "a.jpg"}, "pixel_values of type str"),
        ({"pixel_values": np.zeros((2, 3, 8, 8))}, r"shape \(2, 3, 8, 8\)"),
    ],
)
def test_an_object_that_is_not_an_image_is_an_error_that_says_what_to_give(
    build, row: dict[str, object], what: str
) -> None:
    with pytest.raises(DataError, match=what) as error:
        CaptionCollator(build())([{**row, "text": "a"}])
    assert error.value.fix.startswith("give ")


def test_a_missing_value_of_pandas_is_an_image_that_cannot_be_read(build) -> None:
    inputs = CaptionCollator(build())([{"image": float("nan"), "text": "a"}])
    assert not inputs["readable"].any()


def test_a_collator_is_pickled_without_the_model(build) -> None:
    import pickle

    captioner = build("git-tiny")
    weights = sum(p.numel() * p.element_size() for p in captioner.model.parameters())
    assert len(pickle.dumps(CaptionCollator(captioner))) < weights / 2


def test_a_row_without_usual_keys_names_the_keys_it_has(build) -> None:
    collator = CaptionCollator(build())
    with pytest.raises(DataError, match="no image; its keys are: bild, wort") as error:
        collator([{"bild": Image.new("RGB", (8, 8)), "wort": "rot"}])
    assert "image_column" in error.value.fix
    named = CaptionCollator(build(), image_column="bild", caption_column="wort")
    inputs = named([{"bild": Image.new("RGB", (8, 8)), "wort": "rot"}])
    assert inputs["references"] == (("rot",),)
    with pytest.raises(DataError, match="no caption; its keys are: pixel_values, input_ids"):
        collator([{"pixel_values": torch.zeros(3, 8, 8), "input_ids": [1, 2]}])


@pytest.mark.parametrize("caption", [3, True, {"en": "red"}, ["red", 4]])
def test_a_caption_that_is_not_text_is_an_error_instead_of_a_row_without_captions(
    build, caption
) -> None:
    collator = CaptionCollator(build())
    with pytest.raises(DataError, match="a caption must be text") as error:
        collator([{"image": Image.new("RGB", (8, 8)), "text": caption}])
    assert "caption_column" in error.value.fix


def test_objects_with_a_usual_key_and_missing_captions_are_read(build) -> None:
    rows = [{"raw": "red"}, ["red", None], np.array(["red", "blue"]), float("nan"), None]
    image = Image.new("RGB", (8, 8))
    inputs = CaptionCollator(build())([{"image": image, "sentences": row} for row in rows])
    assert inputs["references"] == (("red",), ("red",), ("red", "blue"), (), ())
