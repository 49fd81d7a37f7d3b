"""Captions from files in every accepted format, and errors that name file, line and id."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from captune.errors import CHECK_PATH, MetricError
from captune.metrics import (
    read_predicted_captions,
    read_references,
    read_samples,
)

EXPECTED = {"7": ["a dog", "one dog"], "3": ["a cat"]}


def write(folder: Path, text: str | bytes, name: str = "captions.json") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


COCO = {
    "images": [{"id": 7}, {"id": 3}],
    "annotations": [
        {"id": 1, "image_id": 3, "caption": "a cat"},
        {"id": 2, "image_id": 7, "caption": "a dog"},
        {"id": 3, "image_id": 7, "caption": "one dog"},
    ],
}
RECORDS = [
    {"image_id": 7, "caption": "a dog"},
    {"image_id": 3, "caption": "a cat"},
    {"image_id": 7, "caption": "one dog"},
]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("dict.json", json.dumps(EXPECTED)),
        ("coco.json", json.dumps(COCO)),
        ("list.json", json.dumps(RECORDS)),
        ("lines.jsonl", "\n".join(json.dumps(record) for record in RECORDS) + "\n\n"),
        ("lines.json", "\n".join(json.dumps(record) for record in RECORDS)),
        (
            "records.jsonl",
            '{"image_id": "7", "captions": ["a dog", "one dog"], "file_name": "x.jpg"}\r\n'
            '{"image_id": "3", "captions": ["a cat"]}',
        ),
        ("single.json", '{"7": ["a dog", "one dog"], "3": "a cat"}'),
    ],
)
def test_references_are_read_from_every_format(tmp_path: Path, name: str, text: str) -> None:
    references = read_references(write(tmp_path, text, name))
    assert references == EXPECTED
    assert list(references) == ["7", "3"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("dict.json", '{"7": "a dog", "3": "a cat"}'),
        ("lists.json", '{"7": ["a dog"], "3": ["a cat"]}'),
        (
            "results.json",
            '[{"image_id": 7, "caption": "a dog"}, {"image_id": 3, "caption": "a cat"}]',
        ),
        ("one.jsonl", '{"image_id": 7, "caption": "a dog"}\n{"image_id": "3", "caption": "a cat"}'),
    ],
)
def test_predictions_are_read_from_every_format(tmp_path: Path, name: str, text: str) -> None:
    predictions = read_predicted_captions(write(tmp_path, text, name))
    assert list(predictions.items()) == [("7", "a dog"), ("3", "a cat")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("dict.json", json.dumps(EXPECTED)),
        ("results.json", json.dumps(RECORDS)),
        ("lines.jsonl", "\n".join(json.dumps(record) for record in RECORDS)),
        (
            "lists.jsonl",
            '{"image_id": 7, "captions": ["a dog", "one dog"]}\n'
            '{"image_id": 3, "captions": ["a cat"]}',
        ),
    ],
)
def test_several_captions_per_image_are_read_from_every_format(
    tmp_path: Path, name: str, text: str
) -> None:
    assert read_samples(write(tmp_path, text, name)) == EXPECTED


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"5": []}', r"the samples of image 5 are \[\], not a list of captions"),
        ('{"5": ["a", null]}', "the sample of image 5 is None"),
        ('[{"image_id": 5, "captions": "a"}]', "the samples of image 5 are 'a'"),
        ("3", "contains JSON of type int"),
    ],
)
def test_bad_samples_name_file_and_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(MetricError, match=message):
        read_samples(write(tmp_path, text))


def test_the_error_for_a_list_of_captions_suggests_samples(tmp_path: Path) -> None:
    with pytest.raises(MetricError, match="the prediction of image 5 is") as caught:
        read_predicted_captions(write(tmp_path, '{"5": ["a", "b"]}'))
    assert caught.value.fix.endswith("several captions by one model go into --samples")


def test_a_byte_order_mark_is_not_part_of_the_text(tmp_path: Path) -> None:
    text = b'\xef\xbb\xbf{"1": "a dog"}'
    assert read_predicted_captions(write(tmp_path, text)) == {"1": "a dog"}
    assert read_predicted_captions(
        write(tmp_path, b'\xef\xbb\xbf{"image_id": 1, "caption": "a dog"}', "a.jsonl")
    ) == {"1": "a dog"}
    # As Windows PowerShell writes the output of `captune caption`.
    lines = '{"image_id": 1, "caption": "a dog"}\r\n'.encode("utf-16")
    assert read_predicted_captions(write(tmp_path, lines, "b.jsonl")) == {"1": "a dog"}


def test_line_separators_inside_a_jsonl_caption_do_not_split_it(tmp_path: Path) -> None:
    text = '{"image_id": 1, "caption": "a\u2028dog\u0085"}\n{"image_id": 2, "caption": "b"}'
    path = write(tmp_path, text, "a.jsonl")
    assert read_predicted_captions(path) == {"1": "a\u2028dog\u0085", "2": "b"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "", r"a\.json is not JSON: Expecting value"),
        ("a.json", '{"1": "a dog"', r"a\.json is not JSON"),
        ("a.json", "3", r"a\.json contains JSON of type int"),
        ("a.json", b"\xff{}", r"a\.json is not UTF-8 at byte 0"),
        ("a.json", "[" * 100_000, r"a\.json is nested too deeply"),
        ("a.jsonl", '{"image_id": 1, "caption": "a"}\n{oops', r"line 2 of .*a\.jsonl is not JSON"),
        ("a.json", '{"5": "a", "6": "b", "5": "c"}', r"a\.json has 5 twice"),
        (
            "a.json",
            '[{"image_id": 5, "caption": "a"}, {"image_id": "5", "caption": "b"}]',
            r"a\.json has 1 image id twice: 5",
        ),
        ("a.json", '[{"caption": "a dog"}]', r"record 1 of .*a\.json has no 'image_id'"),
        ("a.json", '[{"image_id": 5}]', r"record 1 of .*a\.json has no 'caption'"),
        ("a.json", "[3]", r"record 1 of .*a\.json has no 'image_id': 3"),
        ("a.json", '{"5": NaN}', r"the prediction of image 5 is nan \(float\), not text"),
        ("a.json", '{"5": null}', "the prediction of image 5 is None"),
        ("a.json", '{"5": ["a", "b"]}', r"the prediction of image 5 is \['a', 'b'\]"),
        ("a.json", '[{"image_id": 1.5, "caption": "a"}]', "an image id is 1.5"),
        ("a.json", f'[{{"image_id": 1{"0" * 5000}}}]', r"a\.json contains a number with too many"),
        (
            "a.jsonl",
            f'{{"image_id": 1, "caption": "a"}}\n{{"image_id": 1{"0" * 5000}}}',
            r"a number with too many digits\n  where: .*a\.jsonl:2\n",
        ),
        ("a.jsonl", '{"image_id": 1}\n{"id": 1, "id": 2}', r"a\.jsonl has id twice"),
    ],
)
def test_bad_predictions_name_file_and_place(
    tmp_path: Path, name: str, text: str | bytes, message: str
) -> None:
    with pytest.raises(MetricError, match=message):
        read_predicted_captions(write(tmp_path, text, name))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", '{"5": []}', r"the references of image 5 are \[\], not a list of captions"),
        ("a.json", '{"5": 3}', "the references of image 5 are 3"),
        ("a.jsonl", '{"image_id": 5, "captions": null}', "the references of image 5 are None"),
        (
            "a.jsonl",
            '{"image_id": 5, "captions": ["a"]}\n{"image_id": "5", "captions": ["b"]}',
            r"a\.jsonl has 1 image id twice: 5",
        ),
        (
            "a.json",
            '{"images": [{"id": 1}], "annotations": [{"image_id": 2, "caption": "a"}]}',
            "annotation 1 is for image 2, which is not in the list of images",
        ),
        ("a.json", '{"images": 5, "annotations": []}', "contains JSON of type int"),
        (
            "a.json",
            '{"images": [{"id": 1}], "annotations": []}',
            r"the references of image 1 are \[\]",
        ),
        (
            "a.json",
            '{"images": [{"id": 1}, {"id": 1}], "annotations": []}',
            r"a\.json has 1 image id twice: 1",
        ),
        ("a.json", '{"annotations": [{"image_id": 2}]}', "record 1 of .* has no 'caption'"),
        (
            "a.json",
            '{"annotations": [{"image_id": 2, "caption": null}]}',
            "the reference of image 2 is None",
        ),
    ],
)
def test_bad_references_name_file_and_place(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    with pytest.raises(MetricError, match=message):
        read_references(write(tmp_path, text, name))


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('[{"image_id": 1, "caption": "a"}, {"image_id": true, "caption": "a"}]', "record 2"),
        ('{"5": NaN}', "image_id 5"),
    ],
)
def test_errors_about_ids_and_captions_name_the_file(tmp_path: Path, text: str, where: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(MetricError) as caught:
        read_predicted_captions(path)
    assert caught.value.where == f"{path}, {where}"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MetricError, match=r"none\.json cannot be read: No such file") as caught:
        read_references(tmp_path / "none.json")
    assert caught.value.fix == CHECK_PATH
    with pytest.raises(MetricError, match="is a folder, not a regular file"):
        read_predicted_captions(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipes in folders")
def test_a_pipe_and_a_device_are_refused_instead_of_read_for_ever(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "r.json")
    with pytest.raises(MetricError, match=r"r\.json is a pipe, not a regular file"):
        read_references(tmp_path / "r.json")
    with pytest.raises(MetricError, match="/dev/zero is a device, not a regular file"):
        read_predicted_captions("/dev/zero")


def test_texts_with_python_lists_in_references_are_read_as_lists_with_a_note(
    tmp_path: Path,
) -> None:
    notes: list[str] = []
    path = write(tmp_path, json.dumps({"1": "['a dog', 'a cat']", "2": ["two cats", "['a']"]}))
    references = read_references(path, notes=notes)
    assert references == {"1": ["a dog", "a cat"], "2": ["two cats", "a"]}
    assert notes == [f"2 texts in {path} read as Python lists"]


def test_a_text_with_a_python_list_of_one_is_a_prediction(tmp_path: Path) -> None:
    path = write(tmp_path, json.dumps([{"image_id": 1, "caption": "['a dog']"}]))
    assert read_predicted_captions(path) == {"1": "a dog"}
    assert read_predicted_captions(write(tmp_path, '{"1": "[\'a dog\']"}')) == {"1": "a dog"}


def test_references_that_are_objects_written_as_text_are_read_by_their_usual_key(
    tmp_path: Path,
) -> None:
    path = write(tmp_path, json.dumps({"1": "[{'raw': 'a dog'}, {'raw': 'a cat'}]"}))
    assert read_references(path) == {"1": ["a dog", "a cat"]}


@pytest.mark.parametrize("text", ["{'en': 'a dog'}", "[1, 2]"])
def test_a_reference_with_a_value_that_is_no_caption_is_named(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, json.dumps({"7": [text]}))
    with pytest.raises(MetricError, match="a caption must be text") as caught:
        read_references(path)
    assert caught.value.where == f"{path}, image_id 7"


@pytest.mark.parametrize("text", ["{'en': 'a dog'}", "[1, 2]"])
def test_a_prediction_is_scored_whatever_the_model_wrote(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, json.dumps({"7": text}))
    assert read_predicted_captions(path) == {"7": text}
