"""`captune bench`: figures, their JSON keys, and its errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from captune.cli import main
from captune.models import new_captioner
from captune.recipe import ModelConfig

FAST = ["--device", "cpu", "--seconds", "0", "--images", "8"]
FAST_STEPS = [*FAST, "--micro-batch-size", "4", "--workers", "0"]
DATA = ["--data", "shapes:8"]


def run(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in words])
    code = caught.value.code
    return code if isinstance(code, int) else 0


def measured(tmp_path: Path, *words: str) -> dict[str, Any]:
    tmp_path.mkdir(exist_ok=True)
    file = tmp_path / "figures.json"
    assert run("bench", *words, "--json", file) == 0
    figures: dict[str, Any] = json.loads(file.read_text())
    assert figures["schema"] == 1
    return figures


@pytest.mark.slow
def test_training_prints_captions_per_second_and_the_share_of_the_limit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = measured(tmp_path, "train", "blip-tiny", *DATA, *FAST_STEPS, "--precision", "fp32")
    assert {"captions_per_s", "images_per_s", "peak_memory_mb", "share_of_limit", "steady"} <= set(
        figures
    )
    steady = figures["steady"]
    # Five captions per image of the built-in set.
    assert steady["captions_per_s"] == pytest.approx(5 * steady["images_per_s"])
    assert steady["steps"] >= 2
    assert 0 < figures["share_of_limit"] <= 1
    assert 0 <= steady["wait_share"] < 1
    assert figures["limit"]["images_per_s"] > steady["images_per_s"]
    out = capsys.readouterr()
    assert "captions/s" in out.out
    assert "GFLOP/s of matrix products in fp32" in out.err


@pytest.mark.slow
def test_frozen_vision_counts_fewer_operations_and_trains_from_cached_features(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("train", "blip-tiny", *DATA, *FAST_STEPS, "--precision", "fp32")
    whole = measured(tmp_path / "whole", *words)
    frozen = measured(tmp_path / "frozen", *words, "--freeze", "vision")
    # 17 vision tokens pass 0.6 million weights, three times 2 operations each.
    saved = whole["gflop_per_image"] - frozen["gflop_per_image"]
    assert saved == pytest.approx(17 * 0.6e6 * 6 / 1e9, rel=0.25)
    assert "frozen vision features of 8 images" in capsys.readouterr().err


@pytest.mark.slow
def test_captioning_with_random_weights_forces_exactly_twenty_tokens(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = measured(
        tmp_path, "caption", "blip-tiny", *DATA, *FAST, "--precision", "fp32", "--batch-size", "4",
        "--decode", "inline",
    )  # fmt: skip
    assert {"images_per_s", "latency_ms", "peak_memory_mb", "share_of_limit"} <= set(figures)
    assert figures["tokens_per_image"] == 20
    assert 0 < figures["latency_ms"]["p50"] <= figures["latency_ms"]["p95"]
    assert 0 < figures["share_of_limit"] <= 1
    assert "exactly 20 tokens per caption" in capsys.readouterr().err


@pytest.mark.slow
def test_captioning_is_measured_in_the_precision_that_auto_chooses(tmp_path: Path) -> None:
    words = (*DATA, *FAST, "--decode", "inline")
    figures = measured(tmp_path, "caption", "blip-tiny", *words)
    # As `captune.load` describes it: `bf16 (auto)` is not plain bf16.
    assert figures["settings"]["runs"].endswith("(auto)")


@pytest.mark.slow
def test_captioning_is_measured_with_the_requested_backend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    words = ("--max-new-tokens", "4", "--min-new-tokens", "4", "--decode", "inline")
    captioner = new_captioner(ModelConfig(size="blip-tiny"), ["a red square"], seed=0)
    captioner.save(tmp_path / "model")
    figures = measured(
        tmp_path, "caption", str(tmp_path / "model"), *DATA, *FAST, "--backend", "openvino",
        "--precision", "fp32", *words,
    )  # fmt: skip
    assert figures["settings"]["runs"].startswith("openvino")
    assert figures["tokens_per_image"] == 4
    # The operations are counted with the model in torch.
    assert 0 < figures["share_of_limit"] <= 1


def test_data_reports_the_first_epoch_later_ones_and_the_share_of_waiting(tmp_path: Path) -> None:
    figures = measured(tmp_path, "data", "shapes:8", *FAST_STEPS, "--image-size", "64")
    assert figures["first_epoch_images_per_s"] > 0
    assert figures["images_per_s"] > 0
    assert 0 <= figures["wait_share"] < 1
    assert figures["images"] == 8


def test_scoring_prints_the_seconds_per_metric(tmp_path: Path) -> None:
    references, predictions = tmp_path / "references.json", tmp_path / "predictions.json"
    references.write_text(json.dumps({"a": ["a red dog"], "b": ["two cats", "cats"]}))
    predictions.write_text(json.dumps({"a": "a dog", "b": "a cat"}))
    figures = measured(
        tmp_path, "score", "--references", str(references), "--predictions", str(predictions)
    )
    assert list(figures["seconds"]) == ["references", "bleu", "rouge_l", "cider", "all"]
    # 2 predictions and 3 references.
    assert figures["captions_per_s"] == pytest.approx(2.5 * figures["images_per_s"])


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["train", "absent/model", *DATA], "absent/model"),
        (["train", "blip-tiny", *DATA, "--freeze", "visoin"], "did you mean 'vision'?"),
        (["caption", "blip-tiny", "--data", "absent/data"], "absent/data"),
        (["data", "absent/data"], "absent/data"),
        (["caption", "blip-tiny", *DATA, "--device", "nowhere"], "'nowhere' is not available"),
        (["caption", "blip-tiny", *DATA, "--backend", "openvino"], "blip-tiny is a named size"),
    ],
)
def test_errors_name_what_is_wrong(
    words: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("bench", *words) == 2
    err = capsys.readouterr().err
    assert text in err
    assert "fix:" in err


def test_images_without_captions_cannot_measure_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    assert run("bench", "train", "blip-tiny", "--data", tmp_path) == 2
    assert "caption" in capsys.readouterr().err


@pytest.mark.slow
def test_images_without_captions_can_be_captioned(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    words = ("caption", "blip-tiny", "--data", str(tmp_path), *FAST, "--precision", "fp32")
    figures = measured(tmp_path / "out", *words, "--decode", "inline", "--batch-size", "1")
    assert figures["images"] == 2


def test_an_existing_file_is_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "figures.json"
    file.write_text("mine")
    assert run("bench", "data", "shapes:8", "--json", file) == 2
    assert "--force" in capsys.readouterr().err
    given = ("--references", file, "--predictions", tmp_path / "none.json")
    for words in (("score", *given), ("data", file), ("train", "blip-tiny", "--data", file)):
        assert run("bench", *words, "--json", file, "--force") == 2
        assert "is read by this command" in capsys.readouterr().err
    assert file.read_text() == "mine"
