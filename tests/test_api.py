"""The public interface: its names, its page, and its types."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import captune
from captune.errors import MetricError
from captune.records import Prediction
from support.places import ROOT
from support.runs.documented import write_example_folder

PAGE = ROOT / "docs" / "reference" / "python.md"
PUBLIC = [
    "CaptionCollator",
    "CaptionTrainer",
    "Captioner",
    "CaptuneError",
    "Prediction",
    "Recipe",
    "References",
    "caption_library",
    "caption_metrics",
    "load",
    "load_recipe",
    "load_records",
    "run",
    "score",
]


def test_every_public_name_exists() -> None:
    assert sorted(captune.__all__) == sorted([*PUBLIC, "__version__"])
    assert all(getattr(captune, name) is not None for name in PUBLIC)
    assert set(PUBLIC) <= set(dir(captune))


def test_importing_captune_and_its_light_names_does_not_import_torch() -> None:
    script = (
        "import captune, sys; captune.References, captune.score, captune.Prediction,"
        " captune.CaptuneError, captune.load_recipe; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_the_page_mentions_every_public_name() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in PUBLIC if not re.search(rf"(`|# ){name}\b", text)] == []


@pytest.mark.slow
def test_the_examples_of_the_page_run_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_example_folder(tmp_path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    for block in blocks:
        exec(compile(block, PAGE.name, "exec"), names)
    used = "\n".join(blocks)
    assert [name for name in PUBLIC if not re.search(rf"\b{name}\b", used)] == ["Prediction"]
    assert isinstance(names["predictions"][0], captune.Prediction)
    # 6 words, all in the references, with closest lengths 5 and 2: only brevity is penalized.
    assert names["scores"].metrics["bleu_1"] == pytest.approx(math.exp(1 - 7 / 6), abs=1e-6)
    assert (tmp_path / "runs" / "second" / "report.html").is_file()
    assert captune.load("copy", device="cpu").caption("photo.jpg")
    assert captune.load("out/best", device="cpu").caption("photo.jpg")


@pytest.mark.slow
def test_type_checkers_see_the_names(tmp_path: Path) -> None:
    script = tmp_path / "uses.py"
    lines = [f"reveal_type(captune.{name})" for name in PUBLIC]
    script.write_text("\n".join(["import captune", *lines]), encoding="utf-8")
    # With the cache of `make check`: to read torch again takes most of a minute.
    done = subprocess.run(
        [sys.executable, "-m", "mypy", str(script)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.stdout.count("Revealed type") == len(PUBLIC), done.stdout
    assert "Any" not in re.findall(r'Revealed type is "([^"]+)"', done.stdout)


def test_imports_from_earlier_documentation_still_work() -> None:
    from captune.data import contact_sheet, load_splits, select_split
    from captune.metrics import References, bootstrap_intervals, compute
    from captune.models import load_captioner
    from captune.recipe import load_recipe, shipped_path
    from captune.training import CaptionCollator, CaptionTrainer, caption_metrics

    assert captune.CaptionTrainer is CaptionTrainer
    assert captune.CaptionCollator is CaptionCollator
    assert captune.caption_metrics is caption_metrics
    assert captune.References is References
    assert captune.load_recipe is load_recipe
    others = (contact_sheet, load_splits, select_split, load_captioner, shipped_path)
    assert all(map(callable, (*others, bootstrap_intervals, compute)))


def test_score_is_the_same_for_mappings_predictions_and_files(tmp_path: Path) -> None:
    references = {"a": ["a dog runs fast", "the dog"], "b": ["a cat sits"]}
    captions = {"a": "a dog runs", "b": "a cat"}
    (tmp_path / "r.json").write_text('{"a": ["a dog runs fast", "the dog"], "b": ["a cat sits"]}')
    (tmp_path / "p.json").write_text('{"a": "a dog runs", "b": "a cat"}')
    listed = [Prediction(name, caption, -1.0, 4, "eos") for name, caption in captions.items()]
    first = captune.score(references, captions, metrics=["bleu_1", "cider"])
    assert captune.score(references, listed, metrics=["bleu_1", "cider"]) == first
    files = captune.score(
        tmp_path / "r.json", str(tmp_path / "p.json"), metrics=["bleu_1", "cider"]
    )
    assert files == first
    # 5 words, all in the references; closest lengths 2 and 3 (for "a dog runs", 2 and 4 are equally
    # close, and the shorter counts), so there is no brevity penalty.
    assert first.metrics["bleu_1"] == pytest.approx(1.0, abs=1e-6)
    assert set(first.intervals) == {"bleu_1", "cider"}


def test_score_without_resampling_has_no_intervals() -> None:
    scores = captune.score(
        {"a": ["a dog"]}, {"a": "a dog"}, metrics=["bleu_1"], bootstrap_samples=0
    )
    assert scores.intervals == {}


def test_score_refuses_two_predictions_for_one_image() -> None:
    twice = [Prediction("a", "a dog", -1.0, 3, "eos")] * 2
    with pytest.raises(MetricError, match="two predictions for the image 'a'"):
        captune.score({"a": ["a dog"]}, twice)


def test_one_metric_stage_or_override_needs_no_list(tmp_path: Path) -> None:
    references, captions = {"a": ["a dog on grass"], "b": ["a cat"]}, {"a": "a dog", "b": "a cat"}
    one = captune.score(references, captions, metrics="bleu_1")
    assert one == captune.score(references, captions, metrics=["bleu_1"])
    recipe = captune.load_recipe("demo", "data.path=shapes:40")
    folder = captune.run(recipe, only="prepare", out=tmp_path / "run", say=lambda _: None)
    assert (folder / "splits.json").is_file()
    assert not (folder / "model").exists()


@pytest.mark.parametrize(
    ("references", "predictions"),
    [
        ([["a dog"]], ["a dog"]),
        ({"0": ["a dog"]}, ["a dog"]),
        ([["a dog"]], {"0": "a dog"}),
        ({"0": ["a dog"]}, None),
    ],
)
def test_captions_that_name_no_images_are_refused_with_the_way_to_number_them(
    references: Any, predictions: Any
) -> None:
    with pytest.raises(captune.CaptuneError, match="names no image") as caught:
        captune.score(references, predictions)
    assert "dict(enumerate(" in caught.value.fix


def test_references_of_a_data_frame_are_arrays_and_predictions_may_be_generated() -> None:
    expected = captune.score({"a": ["a dog"]}, {"a": "a dog"}, metrics="bleu_1")
    made = (Prediction("a", "a dog", -1.0, 3, "eos") for _ in range(1))
    scored = captune.score({"a": np.array(["a dog"])}, made, metrics="bleu_1")  # type: ignore[arg-type,dict-item]
    assert scored == expected


@pytest.mark.parametrize("read", [captune.load, captune.load_records, captune.load_recipe])
def test_an_object_of_another_type_is_named_instead_of_taken_for_a_name(read: Any) -> None:
    with pytest.raises(captune.CaptuneError, match="of type dict") as caught:
        read({"name": "demo"})
    assert caught.value.fix.startswith("give ")


def test_a_model_that_is_none_of_transformers_is_named() -> None:
    with pytest.raises(captune.CaptuneError, match="'int' has no config"):
        captune.CaptionTrainer(3)


def test_a_list_of_metrics_in_place_of_names_is_refused() -> None:
    with pytest.raises(captune.CaptuneError, match=r"unknown metric \['cider', 'wer'\]"):
        captune.caption_metrics(["cider", "wer"])  # type: ignore[arg-type]
