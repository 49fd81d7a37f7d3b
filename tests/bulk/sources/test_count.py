"""A run's images are counted while it works, so that its progress can show the time left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from captune.bulk import Outcome, SourceOptions, count_images, find_items, read_share
from captune.bulk.run import BulkResult
from captune.cli.bulk.report import BulkReport
from captune.progress import Progress
from support.bulk.hostile_images import write_photos


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    write_photos(tmp_path / "photos", 7)
    (tmp_path / "photos" / "link.png").symlink_to(os.devnull)
    return tmp_path / "photos"


def test_the_count_is_that_of_the_search_without_links_that_lead_outside(photos):
    inputs = (str(photos), str(photos / "*.png"))
    assert len(list(find_items(inputs))) == 8
    assert count_images(inputs, SourceOptions()) == 7


def test_the_shares_of_a_run_add_up(photos):
    counts = [
        count_images((str(photos),), SourceOptions(), share=read_share(f"{index}/3"))
        for index in (1, 2, 3)
    ]
    assert None not in counts
    assert sum(counts) == 7


def test_a_list_in_a_file_is_counted_and_stdin_is_left_to_the_run(photos, tmp_path):
    listed = tmp_path / "list.txt"
    listed.write_text(f"{photos}/photo000000.png\n{photos}/photo000001.png\n")
    assert count_images((), SourceOptions(list_from=str(listed))) == 2
    assert count_images((), SourceOptions(list_from="-")) is None


def test_inputs_that_need_a_download_or_unpacking_are_not_counted(tmp_path):
    assert count_images(("owner/name",), SourceOptions()) is None
    assert count_images(("https://example.org/a.jpg",), SourceOptions()) is None
    assert count_images((str(tmp_path),), SourceOptions()) is None


def test_progress_expects_the_images_that_are_neither_skipped_nor_beyond_the_limit():
    result = BulkResult(outcome=Outcome(num_skipped=30), num_total=100)
    expected: list[int] = []
    progress = Progress(0, lambda _done, _status: None, expected.append)
    BulkReport(result)._advance(progress, result.outcome)
    BulkReport(result, limit=20)._advance(progress, result.outcome)
    assert expected == [70, 20]
