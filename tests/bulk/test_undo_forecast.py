"""A run reports what undoing it costs on disk before it writes anything."""

from __future__ import annotations

from captune.bulk import Surroundings, undo_cost
from captune.bulk.undo_forecast import UndoForecast
from support.bulk.hostile_images import write_photos
from support.bulk.library import caption


def test_a_run_reports_the_cost_of_undo_before_it_writes(model, tmp_path):
    photos = write_photos(tmp_path / "photos", 4)
    for path in photos[:2]:
        path.with_suffix(".txt").write_bytes(b"x" * 100_000)
    lines = []

    def say(line: str) -> None:
        assert photos[0].with_suffix(".txt").read_bytes() == b"x" * 100_000
        lines.append(line)

    result = caption(
        model,
        photos[0].parent,
        around=Surroundings(say=say),
        to=("txt",),
        existing="overwrite",
    )
    # Two texts of 100,000 bytes, a mark of one byte per file, and 4 rows with three paths each.
    size = 2 * 100_000 + 4 + 4 * (80 + 3 * len(str(photos[0].with_suffix(".txt"))))
    folder = photos[0].parent / ".captune"
    shown = f"{size / 1000:.1f} kB"
    assert lines == [f"to undo this run, about {shown} for 4 files will be kept in {folder}"]
    assert undo_cost(result.run_id) == (4, 2 * 100_000 + 4)


def test_a_replaced_caption_file_counts_with_its_size(model, tmp_path):
    photos = write_photos(tmp_path / "photos", 3)
    out, lines = tmp_path / "c.jsonl", []
    around = Surroundings(say=lines.append)
    caption(model, photos[0], out=out, around=around)
    assert lines == []
    size = out.stat().st_size
    caption(model, photos[0].parent, out=out, around=around)
    state = tmp_path / ".captune"
    kept = f"{size} bytes of earlier captions will be kept in {state}"
    assert lines == [f"to undo this run, {kept}"]


def test_the_cost_is_per_million_files_if_their_number_is_unknown():
    text = UndoForecast(bytes_per_file=250.4, num_files=None).describe()
    assert text == "about 250 bytes per file, 250.4 MB per million files"
    assert UndoForecast().describe() == ""
