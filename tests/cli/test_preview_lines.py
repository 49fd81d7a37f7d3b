"""What `--preview` and `--dry-run` print: all files that a run would write."""

from __future__ import annotations

from pathlib import Path

from captune.bulk import PlannedCaption, RunPreview
from captune.cli.bulk.preview_lines import dry_run_lines, preview_lines

_COLLECTED = (Path("out/captions.jsonl"), Path("out/captions.csv"))


def test_a_preview_names_the_files_of_each_image_and_those_of_all():
    shown = PlannedCaption("a.png", "a dog", files=(Path("a.txt"),), undo_bytes=1)
    lines = list(preview_lines(RunPreview(captions=[shown], collected=_COLLECTED)))
    assert lines[:4] == [
        "a.png  a dog",
        "  would write  a.txt",
        f"all captions would go to {_COLLECTED[0]}",
        f"all captions would go to {_COLLECTED[1]}",
    ]
    assert "per image are kept" in lines[4]


def test_a_dry_run_names_the_files_of_all_captions():
    lines = list(dry_run_lines(RunPreview(num_waiting=2, num_new=2, collected=_COLLECTED)))
    assert lines[-2:] == [f"all captions would go to {path}" for path in _COLLECTED]


def test_where_nothing_would_be_written_no_file_is_named():
    assert not any("would go" in line for line in dry_run_lines(RunPreview(collected=_COLLECTED)))
    assert not any("would go" in line for line in preview_lines(RunPreview(collected=_COLLECTED)))
