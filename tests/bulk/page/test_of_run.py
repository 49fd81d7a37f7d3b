"""The page of a complete run: its counts are those of the run."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from captune.bulk import Outcome, Surroundings
from support.bulk.hostile_images import write_photos
from support.bulk.library import caption
from support.bulk.stub_captioner import write_stub


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_stub(tmp_path / "model")


def test_a_finished_run_has_a_page_with_its_counts(model: Path, tmp_path: Path) -> None:
    library = tmp_path / "library"
    write_photos(library, 30)
    for number in range(3):
        (library / f"broken{number}.jpg").write_bytes(b"")
    (library / "photo000000.txt").write_text("by hand\n")
    result = caption(model, library, to=("txt",))
    assert Path(result.page_path) == library / ".captune" / "run.html"
    page = " ".join(Path(result.page_path).read_text(encoding="utf-8").split())
    assert "29 images captioned, 3 failed" in page
    assert "33 found; 1 had captions already." in page
    assert f"captune undo {result.run_id}" in page
    assert '<span class="code">empty</span>' in page
    assert f"{library / '.captune' / 'failures.jsonl'}" in page


def test_the_page_of_one_file_is_named_after_it(model: Path, tmp_path: Path) -> None:
    write_photos(tmp_path / "library", 20)
    result = caption(model, tmp_path / "library", out=tmp_path / "c.jsonl")
    assert Path(result.page_path) == tmp_path / ".captune" / "c.jsonl.html"


def test_a_run_of_a_few_images_has_no_page(model: Path, tmp_path: Path) -> None:
    write_photos(tmp_path / "library", 3)
    result = caption(model, tmp_path / "library", to=("txt",))
    assert result.page_path == ""
    assert not list(tmp_path.rglob("*.html"))


def test_a_page_that_cannot_be_written_costs_no_captions(model: Path, tmp_path: Path) -> None:
    library = tmp_path / "library"
    write_photos(library, 20)
    (library / ".captune" / "run.html" / "in the way").mkdir(parents=True)
    result = caption(model, library, to=("txt",))
    assert (result.page_path, result.outcome.num_done) == ("", 20)


@pytest.mark.slow
def test_a_run_that_is_stopped_leaves_the_page_of_its_last_minutes(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("captune.bulk.page.of_run._SECONDS_BETWEEN", 0.0)
    # A slow machine takes longer to start a process than a stop may take.
    monkeypatch.setattr("captune.bulk.page.of_run._SECONDS_TO_END", 60.0)
    library = tmp_path / "library"
    write_photos(library, 30)

    def stop(outcome: Outcome) -> None:
        if outcome.num_generated == 25:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        caption(model, library, to=("txt",), around=Surroundings(on_progress=stop))
    page = (library / ".captune" / "run.html").read_text(encoding="utf-8")
    assert "not finished at" in page
    assert "30 found" in page


@pytest.mark.slow
def test_a_stop_waits_two_seconds_at_most_for_the_page(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("captune.bulk.page.of_run._SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr("captune.bulk.page.process.child_command", lambda *_: ["sleep", "60"])
    write_photos(tmp_path / "library", 30)
    began: list[float] = []

    def stop(outcome: Outcome) -> None:
        if outcome.num_generated == 25:
            began.append(time.monotonic())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        caption(model, tmp_path / "library", to=("txt",), around=Surroundings(on_progress=stop))
    assert time.monotonic() - began[0] < 5
