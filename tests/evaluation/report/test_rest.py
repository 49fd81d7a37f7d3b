"""The folder beside a report, which holds all scored images."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from captune.errors import OutputError
from captune.evaluation import ReportInputs, ScoringOptions, score_run, write_report
from captune.evaluation.report.gallery.rest import picture_side
from captune.records import Prediction

HOSTILE = "</script><script>alert(1)</script> \u2028 \u202e"


def with_small_gallery(inputs: ReportInputs) -> ReportInputs:
    return replace(inputs, gallery_size=4)


def read_list(folder: Path) -> list[list[object]]:
    text = (folder / "images.js").read_text(encoding="ascii")
    rows: list[list[object]] = json.loads(text.removeprefix("captuneImages(").removesuffix(");\n"))
    return rows


def test_a_report_with_all_images_has_no_folder(inputs: ReportInputs, tmp_path: Path) -> None:
    write_report(inputs, tmp_path / "report.html")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert "'strict-dynamic'" not in (tmp_path / "report.html").read_text()


def test_the_folder_lists_every_image_with_its_picture(
    inputs: ReportInputs, tmp_path: Path
) -> None:
    write_report(with_small_gallery(inputs), tmp_path / "report.html")
    folder = tmp_path / "report_files"
    rows = read_list(folder)
    assert [row[0] for row in rows] == [f"images/{r.image_id}.png" for r in inputs.records]
    for place, row in enumerate(rows):
        with Image.open(folder / "0" / f"{place}.jpg") as picture:
            assert list(picture.size) == row[1]
    text, marks, _, _, length = rows[0][5][1]  # type: ignore[index]
    assert (" ".join(text), length) == ("a red dog sits on the grass", 7)
    # "a" stays, the other words are new, and humans use all of them but none of "man", "field".
    assert marks == "0222222"


def test_hostile_captions_are_safe_in_the_list(
    inputs: ReportInputs, options: ScoringOptions, tmp_path: Path
) -> None:
    after = [Prediction(r.image_id, HOSTILE, -1.0, 5, "eos") for r in inputs.records]
    evaluation = score_run(
        inputs.records, before=None, after=after, training_records=(), options=options
    )
    hostile = replace(with_small_gallery(inputs), before=None, after=after, evaluation=evaluation)
    write_report(hostile, tmp_path / "report.html")
    text = (tmp_path / "report_files" / "images.js").read_text(encoding="ascii")
    assert "<" not in text
    assert "202e" not in text


def test_an_image_that_cannot_be_decoded_is_listed_with_its_reason(
    inputs: ReportInputs, tmp_path: Path
) -> None:
    records = [replace(inputs.records[0], image=b"<html>"), *inputs.records[1:]]
    write_report(replace(with_small_gallery(inputs), records=records), tmp_path / "report.html")
    rows = read_list(tmp_path / "report_files")
    assert rows[0][2] == "not_an_image"
    assert not (tmp_path / "report_files" / "0" / "0.jpg").exists()


def test_a_later_report_replaces_or_removes_the_folder(
    inputs: ReportInputs, tmp_path: Path
) -> None:
    write_report(with_small_gallery(inputs), tmp_path / "report.html")
    (tmp_path / "report_files" / "0" / "99.jpg").write_bytes(b"old")
    write_report(with_small_gallery(inputs), tmp_path / "report.html")
    assert not (tmp_path / "report_files" / "0" / "99.jpg").exists()
    write_report(inputs, tmp_path / "report.html")
    assert not (tmp_path / "report_files").exists()


def test_a_folder_of_the_user_is_never_replaced(inputs: ReportInputs, tmp_path: Path) -> None:
    own = tmp_path / "report_files"
    own.mkdir()
    (own / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="report_files exists, and this page did not write it"):
        write_report(with_small_gallery(inputs), tmp_path / "report.html")
    write_report(inputs, tmp_path / "report.html")
    assert (own / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(("count", "side"), [(100, 800), (1000, 560), (10_000, 360)])
def test_more_images_have_smaller_pictures(count: int, side: int) -> None:
    assert picture_side(count) == side


def test_a_file_in_the_place_of_the_folder_is_kept(inputs: ReportInputs, tmp_path: Path) -> None:
    (tmp_path / "report_files").write_text("notes")
    with pytest.raises(OutputError, match="report_files exists") as caught:
        write_report(with_small_gallery(inputs), tmp_path / "report.html")
    assert "move it away" in caught.value.fix
    assert (tmp_path / "report_files").read_text() == "notes"
    # A report without a folder does not touch it either.
    write_report(inputs, tmp_path / "report.html")
    assert (tmp_path / "report_files").read_text() == "notes"
