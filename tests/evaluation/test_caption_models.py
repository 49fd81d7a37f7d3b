"""Several models on the same images: names, folders and broken images."""

from __future__ import annotations

from pathlib import Path

import pytest

import captune
from captune.data import SkippedImage
from captune.errors import ModelError
from captune.evaluation import ComputeOptions, caption_with, name_models, predict
from captune.hub import find_model
from captune.models import build_size, train_tokenizer
from captune.recipe import GenerateConfig, TokenizerConfig
from captune.records import CaptionRecord, Prediction

GREEDY = GenerateConfig(num_beams=1, max_new_tokens=4)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "model"
    words = ["a red dog sits on the grass"]
    tokenizer = train_tokenizer(words, TokenizerConfig(kind="word", min_count=1))
    build_size("vit-gpt2-tiny", tokenizer).save(folder)
    return folder


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        (["runs/a/model", "runs/b/model"], ["a", "b"]),
        (["Salesforce/blip", "microsoft/git"], ["blip", "git"]),
        (["one/blip", "two/blip"], ["one/blip", "two/blip"]),
        (["/far/away/a/runs/x/model", "/far/b/runs/x"], ["a/runs/x", "b/runs/x"]),
        (["x", "./x"], ["x", "./x"]),
        (["./model"], ["model"]),
        (["/data/runs/x/"], ["x"]),
    ],
)
def test_models_get_short_distinct_names(sources: list[str], names: list[str]) -> None:
    assert list(name_models(sources)) == names
    assert list(name_models(sources).values()) == sources


def test_a_model_given_twice_is_refused() -> None:
    with pytest.raises(ModelError, match="a/b is given twice"):
        name_models(["a/b", "c/d", "a/b"])


def test_the_folder_of_a_run_means_its_model(model_folder: Path) -> None:
    assert find_model(str(model_folder.parent)) == str(model_folder)
    assert find_model(str(model_folder)) == str(model_folder)
    assert find_model("owner/name") == "owner/name"


def test_a_folder_without_a_model_is_refused_before_any_work(
    model_folder: Path, tmp_path: Path, records: list[CaptionRecord]
) -> None:
    reported: list[str] = []
    with pytest.raises(ModelError, match=r"no config\.json"):
        caption_with(
            {"good": str(model_folder), "bad": str(tmp_path)},
            records,
            config=GREEDY,
            compute=ComputeOptions("cpu", "fp32", 4),
            progress=lambda name, _: reported.append(name),
        )
    assert reported == []


def test_a_broken_image_is_reported_and_the_others_are_captioned_in_order(
    model_folder: Path, records: list[CaptionRecord]
) -> None:
    broken = CaptionRecord("bad", b"<html>", ("x",), file_name="bad.jpg")
    reported: list[Prediction | SkippedImage] = []
    predictions = predict(
        captune.load(model_folder, device="cpu"),
        [records[0], broken, *records[1:]],
        config=GREEDY,
        batch_size=3,
        progress=reported.append,
    )
    assert [p.image_id for p in predictions] == [r.image_id for r in records]
    skipped = [outcome for outcome in reported if isinstance(outcome, SkippedImage)]
    assert [(s.image_id, s.file, s.reason) for s in skipped] == [("bad", "bad.jpg", "not_an_image")]
    assert len(reported) == 7


@pytest.mark.slow
def test_an_image_that_cannot_be_read_is_listed_once_for_all_models(
    model_folder: Path, records: list[CaptionRecord]
) -> None:
    captioned = caption_with(
        {"a": str(model_folder), "b": str(model_folder.parent)},
        [*records[:2], CaptionRecord("bad", b"")],
        config=GREEDY,
        compute=ComputeOptions("cpu", "fp32", 2),
    )
    assert [s.reason for s in captioned.skipped] == ["empty"]
    assert list(captioned.predictions) == ["a", "b"]
    assert captioned.predictions["a"] == captioned.predictions["b"]
    assert captioned.hardware.endswith("fp32")
