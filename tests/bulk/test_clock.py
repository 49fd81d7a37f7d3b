"""A clock that jumps back, as at the end of summer time, confuses neither ids, order nor rates."""

from __future__ import annotations

import itertools
import time

import pytest

from captune.bulk import BulkResult, Surroundings, undo_run
from captune.bulk.page import RunWatch
from captune.bulk.run import run_bulk
from captune.bulk.settings import BulkSettings
from captune.bulk.sources.find import find_items
from captune.cli.bulk.report import BulkReport
from captune.progress import Progress
from captune.records import Prediction
from support.bulk.hostile_images import write_photos
from support.bulk.library import StubModel, caption


@pytest.fixture
def backwards(monkeypatch) -> None:
    """A wall clock that jumps back an hour whenever somebody looks."""
    ticks = itertools.count()
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.0 - 3600 * next(ticks))
    monkeypatch.setattr(time, "strftime", lambda _form: "20261025-023000")


@pytest.mark.usefixtures("backwards")
def test_runs_started_in_the_same_second_have_different_ids_and_the_newest_is_undone_first(
    model, tmp_path
):
    photos = write_photos(tmp_path / "photos", 3)
    first = caption(model, photos[0], to=("txt",))
    second = caption(model, photos[0].parent, to=("txt",))
    assert first.run_id != second.run_id
    assert undo_run(str(photos[0].parent)).run_id == second.run_id
    assert photos[0].with_suffix(".txt").exists()
    assert not photos[1].with_suffix(".txt").exists()


@pytest.mark.usefixtures("backwards")
def test_the_rate_is_measured_with_a_clock_that_never_jumps(model, tmp_path):
    photos = write_photos(tmp_path / "photos", 5)[0].parent
    shown: list[str] = []
    result = BulkResult()
    progress = Progress(0, lambda _done, status: shown.append(status))
    report = BulkReport(result)
    run_bulk(
        StubModel(model),
        find_items((str(photos),)),
        inputs=(str(photos),),
        settings=BulkSettings(to=("txt",), decode="inline"),
        result=result,
        surroundings=Surroundings(on_progress=lambda outcome: report._advance(progress, outcome)),
    )
    rates = [float(text.removesuffix(" images/s")) for text in shown]
    assert len(rates) == 5
    assert min(rates) > 0
    assert 0 < result.ended - result.began < 100


@pytest.mark.usefixtures("backwards")
def test_the_page_shows_no_negative_times(tmp_path):
    from captune.bulk.items import Item

    watch = RunWatch()
    for number in range(3):
        time.sleep(0.01)
        watch.add(Item(str(number), tmp_path), Prediction(str(number), "a", -0.5, 1, "eos"))
    assert watch.throughput()
    assert all(at > 0 and rate > 0 for at, rate in watch.throughput())
