"""Exported models give the captions of the original model; exports that do not are refused."""

from __future__ import annotations

import json
import locale
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import captune
from captune.cli import main
from captune.data import make_shapes
from captune.errors import MissingExtraError, ModelError, OutputError, RecipeError
from captune.export import ExportOptions, export_model
from captune.export.export_model import _share_out
from captune.inference import ExportFormat, decoding_config, generate
from captune.inference.exported.folder import read_exported
from support.models.exported_batches import (
    assert_same,
    caption_joining,
    exported_batches,
    open_exported,
)
from support.models.wild_models import SPREADS, calm_captioner, noise_images, wild_captioner

SEARCHES = {
    "greedy": {"num_beams": 1},
    "beams": {"num_beams": 4},
    "penalties": {
        "num_beams": 3,
        "repetition_penalty": 1.3,
        "no_repeat_ngram_size": 2,
        "min_new_tokens": 3,
        "length_penalty": 0.5,
        "early_stopping": True,
    },
    "the shortest": {"num_beams": 3, "length_penalty": -10.0, "min_new_tokens": 8},
    "samples": {"do_sample": True, "temperature": 1.3, "top_k": 5, "top_p": 0.9, "seed": 3},
    "prompt": {"num_beams": 1, "repetition_penalty": 1.7, "prompt": "a red"},
    "cold samples": {"do_sample": True, "temperature": 1e-40},
}


@pytest.fixture(scope="module")
def onnx_export(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that gives the ONNX export of a size, made once: it takes half a minute."""
    place = tmp_path_factory.mktemp("onnx")

    @cache
    def export(size: str) -> Path:
        model, out = place / size / "model", place / size / "exported"
        calm_captioner(size).save(model)
        options = ExportOptions("onnx", min_equal=0.9, num_checked=8)
        export_model(str(model), out, options=options, say=lambda _: None)
        return out

    return export


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["openvino", "onnx"])
@pytest.mark.parametrize("size", SPREADS)
def test_the_numpy_decoder_generates_the_same_captions_as_torch(
    size: str, kind: ExportFormat, tmp_path: Path, onnx_export: Callable[[str], Path]
) -> None:
    captioner, pixels = calm_captioner(size), noise_images(6)
    if kind == "onnx":
        batches = open_exported(onnx_export(size))
    else:
        batches = exported_batches(captioner, kind, tmp_path)
    ids = [str(number) for number in range(len(pixels))]
    batch = list(zip(ids, pixels.numpy(), strict=True))
    with torch.inference_mode():
        # One by one: matrix products of other shapes round differently.
        states = torch.cat([captioner.encode(image[None]) for image in pixels])
    for name, settings in SEARCHES.items():
        config = decoding_config({"max_new_tokens": 10, **settings})
        expected = generate(captioner, states, image_ids=ids, config=config)
        assert_same([one for (one,) in batches.caption(batch, [config])], expected, name)
        for at_once in (1, 3):
            assert_same(caption_joining(batches, batch, config, at_once=at_once), expected, name)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a model and its export, checked on twelve pictures in float32."""
    model = tmp_path_factory.mktemp("model") / "blip"
    wild_captioner("blip-tiny").save(model)
    out = model.with_name("exported")
    export_model(
        str(model),
        out,
        options=ExportOptions("openvino", min_equal=0.9),
        records=make_shapes(12),
        say=lambda _: None,
    )
    return model, out


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of a noise photograph."""
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    noise = np.random.default_rng(5).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


@pytest.mark.slow
def test_an_export_reports_how_many_captions_are_equal_and_how_scores_change(
    folders: tuple[Path, Path],
) -> None:
    facts = json.loads((folders[1] / "export.json").read_text())
    assert facts["schema"] == 1
    assert facts["to"] == "openvino"
    assert facts["parity"]["num_images"] == 12
    assert facts["parity"]["equal_share"] == 1.0
    assert set(facts["score_difference"]) == {"bleu_4", "cider"}
    assert facts["score_difference"]["cider"]["difference"] == 0.0
    assert facts["sizes"]["total_bytes"] > 1_000_000
    assert facts["versions"]["captune"] == captune.__version__


@pytest.mark.slow
@pytest.mark.parametrize(
    ("images", "count", "share"),
    [("given", 50, 0.99), ("given", 49, None), ("built-in shapes", 50, None)],
)
def test_only_enough_given_images_decide_whether_bf16_is_exact_enough(
    images: str, count: int, share: float | None, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(folders[1], folder)
    facts = json.loads((folder / "export.json").read_text())
    facts["parity"] |= {"images": images, "num_images": count, "bf16_equal_share": 0.99}
    facts["parity"] |= {"bf16_vision_equal_share": 0.99}
    (folder / "export.json").write_text(json.dumps(facts))
    model = read_exported(folder)
    assert (model.exact_in_bf16, model.exact_with_bf16_vision) == (share, share)


def test_captune_load_accepts_an_exported_folder_like_a_model(
    folders: tuple[Path, Path], photo: Path
) -> None:
    model, exported = (captune.load(folder, device="cpu") for folder in folders)
    assert isinstance(exported, captune.Captioner)
    (expected,) = model.caption(photo, num_beams=2, max_new_tokens=8)
    (found,) = exported.caption(photo, num_beams=2, max_new_tokens=8)
    assert found.caption == expected.caption
    assert "openvino" in exported.describe()


def test_batches_of_an_exported_model_are_decoded_in_several_ways(
    folders: tuple[Path, Path], photo: Path
) -> None:
    exported = captune.load(folders[1])
    ways = [{"num_beams": beams, "max_new_tokens": 8} for beams in (1, 2)]
    configs = [exported.complete(decoding_config(way)) for way in ways]
    batches = exported.open_batches()
    with Image.open(photo) as image:
        (found,) = batches.caption([("0", batches.prepare(image.convert("RGB")))], configs)
    expected = [exported.caption(photo, **way)[0].caption for way in ways]
    assert [one.caption for one in found] == expected


def test_compiling_does_not_change_the_locale_of_the_process(folders: tuple[Path, Path]) -> None:
    before = locale.setlocale(locale.LC_ALL)
    for _ in range(5):
        captune.load(folders[1])
        assert locale.setlocale(locale.LC_ALL) == before


def test_an_exported_model_refuses_uses_that_need_weights(folders: tuple[Path, Path]) -> None:
    exported = captune.load(folders[1])
    with pytest.raises(ModelError, match="no weights to save"):
        exported.save_pretrained("anywhere")
    with pytest.raises(ModelError, match="can only caption"):
        from captune.models import load_captioner

        load_captioner(folders[1])


def test_captioning_with_an_exported_model_imports_neither_torch_nor_transformers(
    folders: tuple[Path, Path], photo: Path
) -> None:
    words = ["caption", str(folders[1]), str(photo), "--num-beams", "2"]
    script = (
        "import sys\nfrom captune.cli import main\n"
        f"try:\n    main({words!r})\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_evaluate_scores_an_exported_model(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = tmp_path / "scores.json"
    words = ["--data", "shapes:6", "--metrics", "bleu_4", "--json", str(scores), "--decode"]
    with pytest.raises(SystemExit) as end:
        main(["evaluate", str(folders[1]), *words, "inline", "--max-new-tokens", "5"])
    assert end.value.code == 0, capsys.readouterr().err
    assert "bleu_4" in json.loads(scores.read_text())["metrics"]


@pytest.mark.slow
def test_a_model_whose_captions_change_is_refused_and_leaves_nothing(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    options = ExportOptions("openvino", min_equal=1.1)
    with pytest.raises(ModelError) as caught:
        export_model(
            str(folders[0]),
            tmp_path / "out",
            options=options,
            records=make_shapes(2),
            say=lambda _: None,
        )
    assert "100% of 2 captions equal the model's, 110% are needed" in caught.value.what
    assert list(tmp_path.iterdir()) == []


def test_the_error_for_a_missing_runtime_names_what_to_install(
    folders: tuple[Path, Path],
    photo: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # Python then finds no such module.
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError) as caught:
        captune.load(folders[1])
    assert caught.value.fix == "pip install 'captune[openvino]'"
    with pytest.raises(SystemExit) as end:
        main(["caption", str(folders[1]), str(photo)])
    assert end.value.code == 2
    assert "pip install 'captune[openvino]'" in capsys.readouterr().err


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_a_backend_that_cannot_run_an_exported_model_is_refused(
    backend: str, folders: tuple[Path, Path], photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["caption", str(folders[1]), str(photo), "--backend", backend])
    assert end.value.code == 2
    shown = " ".join(capsys.readouterr().err.split())
    assert f"was exported to openvino, which {backend} cannot run" in shown
    assert "--backend auto" in shown


def test_an_exported_model_runs_on_the_backend_it_was_exported_for(
    folders: tuple[Path, Path], photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["caption", str(folders[1]), str(photo), "--backend", "openvino"])
    assert end.value.code == 0
    assert "openvino" in capsys.readouterr().err


def test_a_device_that_an_exported_model_cannot_use_is_refused(
    folders: tuple[Path, Path],
) -> None:
    with pytest.raises(RecipeError, match="device 'cuda' is not available for an exported model"):
        captune.load(folders[1], device="cuda")
    with pytest.raises(RecipeError, match="precision fp16 is not supported"):
        captune.load(folders[1], precision="fp16")


def test_images_come_from_all_over_a_data_set_which_may_be_sorted_by_subject() -> None:
    (shape,) = make_shapes(1)
    records = [replace(shape, image_id=str(number), split=None) for number in range(1000)]
    checked, calibration = _share_out(records, ExportOptions("openvino", int8=True))
    assert [record.image_id for record in checked] == [str(n) for n in range(0, 1000, 10)]
    numbers = [int(record.image_id) for record in calibration]
    assert len(numbers) == 24
    assert numbers[0] < 50 and numbers[-1] > 950
    assert not set(numbers) & set(range(0, 1000, 10))


def test_force_replaces_an_exported_model_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    options = ExportOptions("openvino", force=True)
    with pytest.raises(OutputError, match="is not an exported model"):
        export_model("a model", tmp_path, options=options, say=print)
    assert (tmp_path / "photo.jpg").read_bytes() == b"mine"


def test_a_damaged_graph_is_named(folders: tuple[Path, Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in folders[1].iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    (broken / "text_step.xml").write_text("<net")
    with pytest.raises(ModelError, match="graph cannot be loaded") as caught:
        captune.load(broken)
    assert caught.value.where.endswith("text_step.xml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 7}, "schema 7 is not supported"),
        ({"text": {}}, "not a complete export: KeyError 'prefix_ids'"),
        ({"to": "tensorflow"}, "not a complete export: ValueError to: 'tensorflow'"),
        ({"parity": ["good"]}, "not a complete export: AttributeError"),
        ({"text.width": float("inf")}, "width: inf is not a whole number from 1 to 16777216"),
        ({"text.prefix_ids": [-1]}, "prefix_ids: -1 is not a whole number from 0"),
        ({"text.eos_token_id": True}, "eos_token_id: True is not a whole number"),
        ({"image.size": [64, 10**6]}, "size: 1000000 is not a whole number from 1 to 4096"),
        ({"image.crop": [0, 64]}, "crop: 0 is not a whole number from 1 to 4096"),
        ({"image.resample": 99}, "99 is not a valid Resampling"),
        ({"text.decoding": {"num_beams": "five"}}, "not a complete export: ValidationError"),
    ],
)
def test_an_export_json_that_cannot_be_used_is_explained(
    folders: tuple[Path, Path], tmp_path: Path, change: dict[str, object], message: str
) -> None:
    content = json.loads((folders[1] / "export.json").read_text())
    for key, value in change.items():
        section, _, name = key.rpartition(".")
        (content[section] if section else content)[name] = value
    (tmp_path / "export.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match=message):
        captune.load(tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["openvino", "onnx"])
def test_an_int8_export_is_smaller_and_reports_how_many_captions_changed(
    kind: ExportFormat,
    tmp_path: Path,
    photo: Path,
    folders: tuple[Path, Path],
    onnx_export: Callable[[str], Path],
) -> None:
    model, as_openvino = folders
    shapes = make_shapes(6)
    unreadable = replace(shapes[0], image_id="broken", image=b"not an image")
    export_model(
        str(model),
        tmp_path / "int8",
        options=ExportOptions(kind, int8=True, min_equal=0.0),
        records=[unreadable, *shapes],
        say=lambda _: None,
    )
    fp32 = as_openvino if kind == "openvino" else onnx_export("blip-tiny")
    sizes = []
    for out in (fp32, tmp_path / "int8"):
        facts = json.loads((out / "export.json").read_text())
        assert facts["int8"] == (out.name == "int8")
        assert 0.0 <= facts["parity"]["equal_share"] <= 1.0
        sizes.append(facts["sizes"]["total_bytes"])
        assert captune.load(out).caption(photo, num_beams=1, max_new_tokens=4)[0].num_tokens >= 1
    assert sizes[1] < 0.5 * sizes[0]


@pytest.mark.slow
@pytest.mark.parametrize("size", [size for size in SPREADS if "blip" not in size])
def test_an_onnx_export_of_every_family_captions_and_is_scored(
    size: str,
    tmp_path: Path,
    photo: Path,
    onnx_export: Callable[[str], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = onnx_export(size)
    facts = json.loads((out / "export.json").read_text())
    assert facts["parity"]["num_images"] == 8
    scores = tmp_path / "scores.json"
    scored = ["--data", "shapes:4", "--metrics", "bleu_4", "--json", str(scores)]
    for command, words in (
        ("caption", [str(photo), "--min-new-tokens", "3"]),
        ("evaluate", [*scored, "--max-new-tokens", "5"]),
    ):
        with pytest.raises(SystemExit) as end:
            main([command, str(out), *words])
        shown = capsys.readouterr()
        assert end.value.code == 0, shown.err
    assert "bleu_4" in json.loads(scores.read_text())["metrics"]
