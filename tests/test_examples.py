"""The examples do what their docstrings promise."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from captune.data import LoadOptions, decode_image, make_shapes
from captune.errors import DataError
from captune.metrics import References
from captune.records import VisionInputs
from support.places import ROOT


def load_example(name: str) -> ModuleType:
    path = ROOT / "examples" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"example_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_example_trains_a_model_on_your_own_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    lines = ["image,caption"]
    for record in make_shapes(20, seed=1, image_size=64):
        decode_image(record.image).save(photos / f"{record.image_id.replace(':', '-')}.jpg")
        lines += [f'{record.image_id.replace(":", "-")}.jpg,"{c}"' for c in record.captions]
    (tmp_path / "captions.csv").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    example = load_example("own_data")
    small = {
        "data": {"path": "captions.csv", "image_root": "photos", "num_workers": 0},
        "model": {"size": "blip-tiny"},
        "train": {"max_steps": 1, "trackers": [], "device": "cpu", "precision": "fp32"},
        "generate": {"num_beams": 1, "max_new_tokens": 4},
        "evaluate": {"metrics": ["bleu"], "bootstrap_samples": 100},
    }
    run = example.train_on(photos, tmp_path / "captions.csv", changes=small)
    assert (run / "report.html").is_file()
    assert (run / "model" / "config.json").is_file()


def test_a_new_metric_gets_a_value_and_an_interval() -> None:
    example = load_example("new_metric")
    references = References({"1": ["a dog"], "2": ["a cat"], "3": ["a bird"], "4": ["a cow"]})
    predictions = {"1": "A red dog.", "2": "a cat", "3": "a blue, big bird", "4": "a green cow"}
    share, low, high = example.measure(references, predictions)
    assert share == 0.75
    assert 0.0 <= low <= 0.75 <= high <= 1.0


def test_the_metric_example_reads_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "references.json").write_text(json.dumps({"1": ["a dog"], "2": ["a cat"]}))
    (tmp_path / "predictions.json").write_text(json.dumps({"1": "a red dog", "2": "a cat"}))
    files = [str(tmp_path / f"{name}.json") for name in ("references", "predictions")]
    monkeypatch.setattr(sys, "argv", ["new_metric.py", *files])
    load_example("new_metric").main()
    assert capsys.readouterr().out.startswith("50.0% of the captions name a colour")


@pytest.fixture
def photo_folder(tmp_path: Path) -> Path:
    (record,) = make_shapes(1, seed=1, image_size=32)
    decode_image(record.image).save(tmp_path / "a.jpg")
    (tmp_path / "photos.xml").write_text(
        '<photos><photo file="a.jpg" licence="cc0"><caption>A dog runs.</caption>'
        '<caption>A dog.</caption></photo><photo file="gone.jpg"><caption>x</caption></photo>'
        "</photos>"
    )
    return tmp_path


def test_a_new_format_is_found_and_read(photo_folder: Path) -> None:
    example = load_example("new_format")
    assert example.find_photos(photo_folder) == "photos.xml with captions"
    assert example.find_photos(photo_folder / "elsewhere") is None
    loaded = example.read_photos(photo_folder, LoadOptions())
    assert [record.captions for record in loaded.records] == [("A dog runs.", "A dog.")]
    assert [image.file for image in loaded.skipped] == ["gone.jpg"]


def test_a_broken_file_of_the_new_format_is_an_error(photo_folder: Path) -> None:
    (photo_folder / "photos.xml").write_text("<photos><photo>")
    with pytest.raises(DataError, match="is not valid XML"):
        load_example("new_format").read_photos(photo_folder, LoadOptions())


def test_a_custom_family_packs_captions_and_decodes() -> None:
    import torch

    from captune.inference import generate
    from captune.recipe import GenerateConfig
    from support.models.tiny_models import build, images

    pooled = load_example("new_family").pool(build("vit-gpt2-tiny"))
    pooled.eval_mode()
    pixels = pooled.pixel_values(images(1))
    states = pooled.encode(pixels)
    assert states.shape[:2] == (1, 1)

    def loss(*captions: str) -> torch.Tensor:
        batch = pooled.batch([captions], ["a"], max_caption_tokens=12)
        return pooled.loss(replace(batch, vision_inputs=VisionInputs.of_pixels(pixels))).loss_sum

    together = loss("a red circle", "a blue star")
    torch.testing.assert_close(together, loss("a red circle") + loss("a blue star"))
    config = GenerateConfig(num_beams=3, max_new_tokens=6)
    (prediction,) = generate(pooled, states, image_ids=["a"], config=config)
    assert prediction.num_tokens <= 6
