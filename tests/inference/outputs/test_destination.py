"""Where captions are written: atomically, safe from kills, nothing overwritten without --force."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from captune.errors import OutputError
from captune.inference import open_destination
from captune.inference.prediction_rows import csv_text, parse_csv, prediction_row
from captune.records import Prediction

MADE_BY = {"model": "m", "decoding": {"num_beams": 3}}


def prediction(image_id: str, caption: str = "a dog", flags: tuple[str, ...] = ()) -> Prediction:
    return Prediction(image_id, caption, -0.5, 3, "eos", flags)


def lines_of(target, predictions) -> str:
    stream = io.BytesIO()
    with open_destination(target, [], out=stream, made_by=MADE_BY) as destination:
        assert not destination.has("a.jpg")
        for one in predictions:
            destination.write(one)
        destination.finish()
    return stream.getvalue().decode("utf-8", "surrogateescape")


def file_at(path: Path, **settings):
    target = path.suffix[1:]
    return open_destination(
        target, [], out=path, made_by=settings.pop("made_by", MADE_BY), **settings
    )


def test_stdout_gets_path_tab_caption():
    assert lines_of("stdout", [prediction("a b.jpg"), prediction("c.jpg", "")]) == (
        "a b.jpg\ta dog\nc.jpg\t\n"
    )


def test_names_cannot_control_the_terminal():
    text = lines_of("stdout", [prediction("a\n\x1b[2J\u202e.jpg", "one\ttwo\x07")])
    assert text == "a\\n\\x1b[2J\\u202e.jpg\tone\\ttwo\\x07\n"


def test_bytes_that_are_not_utf_8_are_written_unchanged():
    assert lines_of("stdout", [prediction("\udcff.jpg")]).startswith("\udcff.jpg\t")


def test_jsonl_lines_round_trip_every_name_and_caption():
    odd = [prediction("\udcff\n🦊.jpg", '"</script>]]>=1+1', ("repetition",))]
    (line,) = lines_of("jsonl", odd).splitlines()
    assert json.loads(line) == prediction_row(odd[0])


def test_a_logprob_that_is_not_finite_is_null():
    assert prediction_row(replace(prediction("a"), mean_logprob=math.nan))["mean_logprob"] is None


@pytest.mark.parametrize("start", ["=HYPERLINK(1)", "+1", "-1", "@x", "\tx", "\rx", "＝1"])
def test_csv_cells_cannot_start_formulas(start):
    text = csv_text([prediction_row(prediction(start, start))], with_header=True)
    _, cells = csv.reader(io.StringIO(text, newline=""))
    assert cells[:3] == [f"'{start}", f"'{start}", "-0.5"]
    (row,) = parse_csv(text)
    assert (row["image_id"], row["caption"]) == (start, start)


def test_csv_on_stdout_has_one_header():
    text = lines_of("csv", [prediction("a.jpg", 'x, "y"'), prediction("b.jpg", flags=("p", "q"))])
    assert text == (
        "image_id,caption,mean_logprob,num_tokens,finish_reason,flags\n"
        'a.jpg,"x, ""y""",-0.5,3,eos,\n'
        "b.jpg,a dog,-0.5,3,eos,p q\n"
    )


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_a_file_keeps_its_captions_and_gets_the_new_ones(tmp_path, ending):
    path = tmp_path / "new" / f"captions.{ending}"
    with file_at(path) as destination:
        destination.write(prediction("a.jpg"))
        assert not path.exists()
        destination.finish()
    before = path.read_text()
    with file_at(path) as destination:
        assert destination.has("a.jpg")
        assert not destination.has("b.jpg")
        destination.write(prediction("b.jpg", "a cat"))
        destination.finish()
    assert path.read_text().startswith(before)
    assert "a cat" in path.read_text()
    assert sorted(p.name for p in path.parent.iterdir()) == [".captune", path.name]


def test_without_new_captions_the_file_keeps_its_bytes(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_bytes(b'{"caption":"a dog",  "image_id":"a.jpg", "mine": 1}\r\n')
    before = path.read_bytes()
    with file_at(path) as destination:
        assert destination.has("a.jpg")
        destination.finish()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_with_other_columns_is_not_overwritten(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text("image_id,caption,mine\na.jpg,a dog,1\n")
    with pytest.raises(OutputError, match="holds something other than captions"):
        file_at(path)


def test_force_starts_again_and_replaces_the_file_at_the_end(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text('{"image_id": "a.jpg", "caption": "old"}\n')
    with file_at(path, force=True) as destination:
        assert not destination.has("a.jpg")
        destination.write(prediction("a.jpg", "new"))
        assert "old" in path.read_text()
        destination.finish()
    assert [json.loads(line)["caption"] for line in path.read_text().splitlines()] == ["new"]


def test_a_stopped_run_resumes_after_its_last_complete_line(tmp_path):
    path = tmp_path / "c.jsonl"
    with pytest.raises(KeyboardInterrupt), file_at(path) as destination:
        destination.write(prediction("a.jpg"))
        destination.write(prediction("b.jpg"))
        raise KeyboardInterrupt
    journal = tmp_path / "c.jsonl.part"
    # A kill in the middle of a line.
    journal.write_bytes(journal.read_bytes()[:-7])
    with file_at(path) as destination:
        assert destination.has("a.jpg")
        assert not destination.has("b.jpg")
        destination.write(prediction("b.jpg", "again"))
        destination.finish()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(row["image_id"], row["caption"]) for row in rows] == [
        ("a.jpg", "a dog"),
        ("b.jpg", "again"),
    ]
    assert not journal.exists()


def test_a_journal_truncated_anywhere_keeps_its_complete_lines(tmp_path):
    path, journal = tmp_path / "c.jsonl", tmp_path / "c.jsonl.part"
    with pytest.raises(KeyboardInterrupt), file_at(path) as destination:
        destination.write(prediction("a.jpg"))
        destination.write(prediction("b.jpg"))
        raise KeyboardInterrupt
    whole = journal.read_bytes()
    ends = [at + 1 for at, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(len(whole) + 1):
        journal.write_bytes(whole[:cut])
        with file_at(path) as destination:
            kept = [destination.has(name) for name in ("a.jpg", "b.jpg")]
        assert kept == [cut >= ends[1], cut >= ends[2]]


def test_captions_written_after_a_truncated_line_survive_the_next_kill(tmp_path):
    path, journal = tmp_path / "c.jsonl", tmp_path / "c.jsonl.part"
    for name in ("a.jpg", "b.jpg"):
        with pytest.raises(KeyboardInterrupt), file_at(path) as destination:
            destination.write(prediction(name))
            destination.write(prediction("torn.jpg"))
            raise KeyboardInterrupt
        journal.write_bytes(journal.read_bytes()[:-9])
    with file_at(path) as destination:
        kept = [destination.has(name) for name in ("a.jpg", "b.jpg", "torn.jpg")]
    assert kept == [True, True, False]


def test_a_journal_of_another_model_is_not_resumed(tmp_path):
    path = tmp_path / "c.jsonl"
    with pytest.raises(KeyboardInterrupt), file_at(path) as destination:
        destination.write(prediction("a.jpg"))
        raise KeyboardInterrupt
    with pytest.raises(OutputError, match=r"another model or decoding \(model: m -> other\)"):
        file_at(path, made_by={"model": "other"})
    with file_at(path, made_by={"model": "other"}, force=True) as destination:
        assert not destination.has("a.jpg")


def test_a_stopped_run_with_force_resumes_too(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text('{"image_id": "a.jpg", "caption": "old"}\n')
    with pytest.raises(KeyboardInterrupt), file_at(path, force=True) as destination:
        destination.write(prediction("a.jpg", "new"))
        raise KeyboardInterrupt
    with pytest.raises(OutputError, match="was started with --force"):
        file_at(path)
    with file_at(path, force=True) as destination:
        assert destination.has("a.jpg")
        destination.finish()
    assert [json.loads(line)["caption"] for line in path.read_text().splitlines()] == ["new"]
    with file_at(path, force=True) as destination:
        assert not destination.has("a.jpg")


def test_a_kill_before_the_journal_is_deleted_duplicates_nothing(tmp_path):
    path, journal = tmp_path / "c.jsonl", tmp_path / "c.jsonl.part"
    with file_at(path) as destination:
        destination.write(prediction("a.jpg"))
        kept = journal.read_bytes()
        destination.finish()
    journal.write_bytes(kept)
    with file_at(path) as destination:
        destination.write(prediction("b.jpg"))
        destination.finish()
    rows = [json.loads(line)["image_id"] for line in path.read_text().splitlines()]
    assert rows == ["a.jpg", "b.jpg"]


def test_another_file_with_the_name_of_the_journal_is_kept(tmp_path):
    journal = tmp_path / "c.jsonl.part"
    journal.write_text("half a film\n")
    with pytest.raises(OutputError, match="is not a journal of captions"):
        file_at(tmp_path / "c.jsonl", force=True)
    assert journal.read_text() == "half a film\n"


def test_a_run_that_does_nothing_leaves_no_journal(tmp_path):
    with pytest.raises(ValueError, match="the model"), file_at(tmp_path / "c.jsonl"):
        raise ValueError("the model could not be loaded")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["not json\n", '{"a": 1}\n', "[1, 2]\n", '"text"\n'])
def test_a_file_with_other_content_is_not_changed(tmp_path, content):
    path = tmp_path / "c.jsonl"
    path.write_text(content)
    with pytest.raises(OutputError, match="holds something other than captions"):
        file_at(path)
    assert path.read_text() == content
    assert list(tmp_path.iterdir()) == [path]


def test_two_runs_cannot_write_the_same_file(tmp_path):
    path = tmp_path / "c.jsonl"
    with file_at(path), pytest.raises(OutputError, match="is in use by process"):
        file_at(path)


def test_a_path_that_cannot_be_written_is_refused_at_the_start(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot write .*c\.jsonl"):
        file_at(tmp_path / "file" / "c.jsonl")


def test_sidecars_are_written_beside_the_images(tmp_path):
    image = tmp_path / "a.b.jpg"
    with open_destination("txt", [image], out=tmp_path, made_by=MADE_BY) as destination:
        assert not destination.has(str(image))
        destination.write(prediction(str(image), " two\nlines "))
        destination.finish()
        assert destination.has(str(image))
    assert (tmp_path / "a.b.txt").read_bytes() == b"two lines\n"


def test_an_empty_sidecar_does_not_count_and_an_empty_caption_is_not_written(tmp_path):
    image = tmp_path / "a.jpg"
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbf \r\n".removeprefix(b"\xef\xbb\xbf"))
    with open_destination("txt", [image], out=tmp_path, made_by=MADE_BY) as destination:
        assert not destination.has(str(image))
        (tmp_path / "a.txt").unlink()
        destination.write(prediction(str(image), ""))
    assert list(tmp_path.iterdir()) == []


def test_an_existing_sidecar_is_kept_without_force(tmp_path):
    image = tmp_path / "a.jpg"
    (tmp_path / "a.txt").write_bytes("caf\xe9\r\n".encode("latin-1"))
    with open_destination("txt", [image], out=tmp_path, made_by=MADE_BY) as kept:
        assert kept.has(str(image))
    with open_destination("txt", [image], out=tmp_path, made_by=MADE_BY, force=True) as forced:
        assert not forced.has(str(image))


def test_a_name_that_is_too_long_is_refused_before_anything_is_written(tmp_path):
    image = tmp_path / f"{'é' * 125}.jpg"
    with pytest.raises(OutputError, match="is longer than 255 bytes") as caught:
        open_destination(
            "txt", [image], out=tmp_path, made_by=MADE_BY, sidecar_name="full", force=True
        )
    assert "--sidecar-name stem" in caught.value.fix
    with open_destination("txt", [image], out=tmp_path, made_by=MADE_BY) as destination:
        destination.write(prediction(str(image)))
    assert [path.name for path in tmp_path.iterdir()] == [f"{'é' * 125}.txt"]


def test_two_images_that_share_a_sidecar_are_refused_before_anything_is_written(tmp_path):
    images = [tmp_path / name for name in ("a.jpg", "a.png", "b.jpg", "b.png", "c.jpg")]
    with pytest.raises(OutputError, match=r"a\.jpg and a\.png .*a\.txt \(and 1 more\)") as caught:
        open_destination("txt", images, out=tmp_path, made_by=MADE_BY)
    assert "--sidecar-name full" in caught.value.fix
    with open_destination(
        "txt", images, out=tmp_path, made_by=MADE_BY, sidecar_name="full"
    ) as full:
        full.write(prediction(str(images[1])))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png.txt"]


def test_a_target_that_does_not_match_the_output_is_refused(tmp_path):
    with pytest.raises(OutputError, match="--to stdout writes no files"):
        open_destination("stdout", [], out=tmp_path / "x", made_by=MADE_BY)
