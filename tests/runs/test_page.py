"""The data of the page: groups of comparable runs, their paired test, and hostile names."""

from __future__ import annotations

import base64
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captune.runs import search_runs, write_runs_page
from runs.conftest import NOUNS, MakeRun


def data_of(page: Path) -> dict[str, Any]:
    """Return the data block of a page."""
    found = re.search(r'id="runs-data">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def unpack(text: str) -> list[float]:
    return np.frombuffer(base64.b64decode(text), "<f4").tolist()


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Return a function that writes the page of all runs and returns its data."""

    def write_page() -> dict[str, Any]:
        page = tmp_path / "runs" / "runs.html"
        write_runs_page(page, search_runs([tmp_path / "runs"]), title="runs")
        return data_of(page)

    return write_page


def test_runs_on_the_same_images_form_a_group_with_values_and_captions(
    make_run: MakeRun, good: dict[str, str], write: Any
) -> None:
    folder = make_run("a", good)
    make_run("b", {})
    data = write()
    (group,) = data["groups"]
    assert (group["metric"], group["images"]) == ("cider", 8)
    assert [run["group"] for run in data["runs"]] == [0, 0]
    rows = read_rows(folder / "scores_per_image.jsonl")
    expected = [row["cider"] for row in rows if row["predictions"] == "after"]
    place = str([run["name"] for run in data["runs"]].index("a"))
    assert unpack(group["runs"][place]["values"]) == pytest.approx(expected, rel=1e-6)
    assert len(unpack(group["runs"][place]["resampled"])) == 1000
    dog = next(image for image in group["shown"] if image["name"] == "dog.png")
    assert dog["captions"][place] == "a red dog sits on the grass"
    assert dog["human"] == ["a red dog sits on the grass", "one dog outside"]
    assert dog["thumbnail"].startswith("data:image/jpeg;base64,")


def test_runs_scored_on_other_images_are_not_compared_per_image(
    make_run: MakeRun, good: dict[str, str], write: Any
) -> None:
    make_run("a", good)
    folder = make_run("b", {})
    for name in ("scores_per_image.jsonl",):
        path = folder / name
        path.write_text(path.read_text().replace('"dog"', '"fox"'))
    data = write()
    assert data["groups"] == []
    assert [run["group"] for run in data["runs"]] == [None, None]


def test_values_that_do_not_give_the_score_are_not_used(
    make_run: MakeRun, good: dict[str, str], write: Any
) -> None:
    make_run("a", good)
    path = make_run("b", {}) / "scores_per_image.jsonl"
    rows = read_rows(path)
    rows[0]["cider"] = 9.0
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert write()["groups"] == []


def test_settings_are_those_that_differ_from_the_defaults(
    make_run: MakeRun, good: dict[str, str], write: Any
) -> None:
    make_run("a", good, train={"epochs": 7}, data={"filters": {"kind": ["x"]}})
    data = write()
    changed = {"name": "tiny", "train.epochs": 7.0, "data.filters.kind": ["x"]}
    assert data["runs"][0]["settings"] == changed
    assert data["defaults"]["train.learning_rate"] == 5e-5


def test_hostile_names_and_captions_cannot_leave_their_place(
    make_run: MakeRun, write: Any, tmp_path: Path
) -> None:
    attack = "</script><img src=x onerror=alert(1)>"
    make_run("<b>a&amp;", dict.fromkeys(NOUNS, attack), description=attack)
    make_run("b", {})
    data = write()
    text = (tmp_path / "runs" / "runs.html").read_text()
    assert "<img src=x" not in text
    assert "<b>a" not in text
    assert attack in {c for image in data["groups"][0]["shown"] for c in image["captions"].values()}
    assert 'href="%3Cb%3Ea%26amp%3B/report.html"' in text


def test_damaged_and_foreign_folders_are_on_the_page(
    make_run: MakeRun, good: dict[str, str], write: Any, tmp_path: Path
) -> None:
    (make_run("a", good) / "scores.json").write_text("{")
    (tmp_path / "runs" / "holiday").mkdir()
    data = write()
    text = (tmp_path / "runs" / "runs.html").read_text()
    assert [run["name"] for run in data["runs"]] == ["a", "holiday"]
    assert "1 damaged, 1 not a run." in text
    assert "scores.json: " in text


@pytest.mark.slow
def test_hundreds_of_runs_make_a_page_of_a_few_megabytes(
    make_run: MakeRun, good: dict[str, str], write: Any, tmp_path: Path
) -> None:
    import shutil

    first = make_run("r0", good)
    for number in range(1, 300):
        shutil.copytree(first, tmp_path / "runs" / f"r{number}")
    data = write()
    assert len(data["runs"]) == 300
    assert (tmp_path / "runs" / "runs.html").stat().st_size < 8_000_000


def test_a_score_whose_interval_is_unknown_is_shown_without_it(
    make_run: MakeRun, good: dict[str, str], write: Any, tmp_path: Path
) -> None:
    folder = make_run("a", good)
    scores = json.loads((folder / "scores.json").read_text())
    for section in (scores["after"], scores["systems"]["after"] if "systems" in scores else {}):
        if section:
            section["intervals"]["cider"] = [None, None]
    (folder / "scores.json").write_text(json.dumps(scores))
    (run,) = write()["runs"]
    value, low, high = run["scores"]["cider"]
    assert value > 0
    assert (low, high) == (None, None)
    assert "– to –" not in (tmp_path / "runs" / "runs.html").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="names of bytes that are not UTF-8")
def test_a_run_in_a_folder_whose_name_is_not_utf_8_has_a_link(
    make_run: MakeRun, good: dict[str, str], write: Any, tmp_path: Path
) -> None:
    make_run("caf\udce9 #1", good)
    write()
    assert 'href="caf%E9%20%231/report.html"' in (tmp_path / "runs" / "runs.html").read_text()


def test_the_best_error_rate_is_the_lowest(
    make_run: MakeRun, good: dict[str, str], write: Any, tmp_path: Path
) -> None:
    rates = {}
    for name, captions in (("good", good), ("poor", {})):
        path = make_run(name, captions) / "scores.json"
        scores = json.loads(path.read_text())
        wer = scores["after"]["metrics"]["wer"]
        sections = [scores["after"], *scores.get("systems", {}).values()]
        for section in sections:
            section["metrics"] = {"wer": section["metrics"]["wer"]}
        path.write_text(json.dumps(scores))
        rates[name] = wer
    write()
    assert rates["good"] < rates["poor"]
    text = (tmp_path / "runs" / "runs.html").read_text()
    assert f"Best Word error rate: good, {rates['good']:.3f}." in text
