"""Exported graphs that are loaded a second time, and an export.json that does not fit them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import captune
from captune.errors import ModelError
from captune.export import ExportOptions, export_model
from captune.inference import ExportFormat, decoding_config
from support.models.exported_batches import assert_same, exported_batches, open_batches
from support.models.wild_models import SPREADS, calm_captioner, noise_images

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("size", SPREADS)
def test_graphs_from_the_cache_give_the_captions_of_freshly_compiled_ones(
    size: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAPTUNE_CACHE", str(tmp_path / "cache"))
    first = exported_batches(calm_captioner(size), "openvino", tmp_path)
    assert len(list((tmp_path / "cache" / "openvino").glob("*.blob"))) == 2
    second = open_batches(first.runtime.model)
    ids = [str(number) for number in range(3)]
    batch = list(zip(ids, noise_images(3).numpy(), strict=True))
    config = decoding_config({"num_beams": 2, "min_new_tokens": 8, "max_new_tokens": 10})
    expected, found = (
        [one for (one,) in batches.caption(batch, [config])] for batches in (first, second)
    )
    assert_same(found, expected, size)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[ExportFormat, Path]:
    """Return an export of one model in each format."""
    place = tmp_path_factory.mktemp("exports")
    calm_captioner("git-tiny").save(place / "model")
    kinds: tuple[ExportFormat, ...] = ("openvino", "onnx")
    for kind in kinds:
        options = ExportOptions(kind, min_equal=0.5, num_checked=2)
        export_model(str(place / "model"), place / kind, options=options, say=lambda _: None)
    return {kind: place / kind for kind in kinds}


@pytest.mark.parametrize("kind", ["openvino", "onnx"])
@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("text.eos_token_id", 14, "eos_token_id: 14 is not a whole number from 0 to 13"),
        ("text.prefix_ids", [2, 50], "prefix_ids: 50 is not a whole number from 0 to 13"),
        ("text.suppressed_ids", [3, 14], "suppressed_ids: 14 is not a whole number from 0 to"),
        ("text.width", 64, "width: 64 is not that of the text graph, 128"),
        ("image.size", [32, 64], r"pixels of \(3, 32, 64\), but the graph takes \(3, 64, 64\)"),
        ("image.crop", [32, 32], r"pixels of \(3, 32, 32\), but the graph takes \(3, 64, 64\)"),
    ],
)
def test_an_export_json_that_does_not_fit_its_graphs_is_refused_with_key_and_range(
    folders: dict[ExportFormat, Path], kind: ExportFormat, tmp_path: Path, *, key: str,
    value: Any, message: str,
) -> None:  # fmt: skip
    folder = Path(shutil.copytree(folders[kind], tmp_path / "copy"))
    content = json.loads((folder / "export.json").read_text())
    section, _, name = key.partition(".")
    content[section][name] = value
    (folder / "export.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match=message) as caught:
        captune.load(folder)
    assert caught.value.where == str(folder / "export.json")


def test_a_tokenizer_with_more_tokens_than_the_exported_model_is_refused(
    folders: dict[ExportFormat, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(folders["openvino"], tmp_path / "copy"))
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["vocab"] |= {f"word{number}": 14 + number for number in range(6)}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match="the tokenizer has 20 tokens, the model only 14"):
        captune.load(folder)
