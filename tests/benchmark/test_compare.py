"""`benchmarks/compare.py`: every side measures every row, and the table shows ratios first."""

from __future__ import annotations

import dataclasses
import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.places import ROOT

BENCHMARKS = ROOT / "benchmarks"
ROWS = {
    "train-full": ("train-full",),
    "train-frozen": ("train-frozen",),
    "caption": ("caption-greedy", "latency"),
    "data": ("data-first", "data-later"),
}


@pytest.fixture
def compare(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("compare")


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny model, and a list of drawn images with captions."""
    from captune.data import load_records, read_source
    from captune.models import build_size, train_tokenizer
    from captune.recipe import TokenizerConfig

    folder = tmp_path_factory.mktemp("compare")
    listed = []
    for record in load_records("shapes:10").records:
        path = folder / f"{record.image_id}.png"
        path.write_bytes(read_source(record.image))
        listed.append([str(path), list(record.captions)])
    (folder / "photos.json").write_text(json.dumps(listed))
    captions = [caption for _, own in listed for caption in own]
    tokenizer = train_tokenizer(captions, TokenizerConfig(kind="word", min_count=1))
    build_size("blip-tiny", tokenizer).save(folder / "blip")
    return folder / "blip", folder / "photos.json"


@pytest.mark.slow
@pytest.mark.parametrize("name", list(ROWS))
@pytest.mark.parametrize("side", ["captune", "plain", "notebook"])
def test_every_side_measures_every_row(
    name: str,
    side: str,
    compare: Any,
    places: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, photos = places
    task = compare.Task(
        name=name, rows=ROWS[name], side=side, model="blip-tiny", folder=str(model),
        photos=str(photos), fp32=True, seconds=0.0, plain_batch=2, batch=4,
    )  # fmt: skip
    assert compare.Task.read(task.write()) == task
    compare.run_task(task)
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(figures["rates"]) == set(ROWS[name])
    assert all(rate > 0 for rate in figures["rates"].values())
    assert figures["details"]["peak_memory_mb"] > 0


def run_of(side: str, turn: int, **rates: float) -> dict[str, Any]:
    return {
        "task": "caption", "model": "blip-base", "side": side, "turn": turn, "rates": rates,
        "details": {},
    }  # fmt: skip


def test_the_table_has_ratios_of_medians_first(compare: Any) -> None:
    runs = [
        *(run_of("captune", n, **{"caption-greedy": r}) for n, r in enumerate((6.0, 5.0, 60.0))),
        *(run_of("plain", n, **{"caption-greedy": r}) for n, r in enumerate((3.0, 2.0, 4.0))),
        run_of("notebook", 0, **{"caption-greedy": 0.5}),
        run_of("captune", 0, **{"caption-greedy-int8": 9.0}),
    ]
    runs[0]["details"] = {"caption-greedy": {"share_of_limit": 0.5}}
    content = {"machine": "a machine", "date": "2026-01-01", "limit": "fast", "runs": runs}
    table = compare.render(content)
    assert "a machine; 2026-01-01; medians of 3." in table
    assert (
        "| **12x** | **2x** | captioning, greedy, 20 tokens, images/s | 6 | 3 | 0.5 | 50 % |"
    ) in table
    # The other sides have no int8: their figures are those of the row without it.
    assert "| **18x** | **3x** | captioning, greedy, 20 tokens, int8, images/s | 9 | 3 |" in table


def test_turns_alternate_the_sides_and_measured_ones_are_not_repeated(
    compare: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        sys, "argv", ["compare", "--rows", "latency", "--models", "blip-tiny", "--repeats", "2"]
    )
    options = compare.parse_options()
    places = {"few": tmp_path / "few.json", "data": tmp_path / "data.json"}
    planned = list(compare.plan_tasks(options, tmp_path, photos=places))
    assert [(task.side, turn) for task, turn in planned] == [
        ("captune", 0), ("plain", 0), ("notebook", 0), ("captune", 1), ("plain", 1),
        ("notebook", 1),
    ]  # fmt: skip
    task, turn = planned[1]
    done = run_of("plain", 0, latency=1.0) | {"model": "blip-tiny"}
    assert compare.is_same(done, task, turn)
    assert not compare.is_same(done, dataclasses.replace(task, rows=("caption-beams",)), turn)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_small_comparison_runs_and_is_continued(tmp_path: Path) -> None:
    words = [
        *("--quick", "--images", "8", "--json", str(tmp_path / "found.json")),
        *("--work", str(tmp_path / "work"), "--rows", "train-frozen"),
    ]
    command = [sys.executable, str(BENCHMARKS / "compare.py"), *words]
    first = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "vision frozen, after the first epoch" in first.stdout
    content = json.loads((tmp_path / "found.json").read_text())
    assert [run["side"] for run in content["runs"]] == ["captune", "plain", "notebook"]
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "turn 1" not in again.stdout
    assert json.loads((tmp_path / "found.json").read_text()) == content
