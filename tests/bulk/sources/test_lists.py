"""Lists name images: in lines, between NULs, as JSON or CSV, from a file or stdin."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from captune.bulk import SourceOptions, find_items
from captune.bulk.items import look_at
from captune.bulk.sources.lists import read_list
from captune.errors import DataError
from support.bulk.hostile_images import odd_names, write_photos


def listed(content: bytes, form: str, tmp_path: Path, column: str | None = None) -> list[str]:
    path = tmp_path / "list"
    path.write_bytes(content)
    return [entry.text for entry in read_list(str(path), form, column=column)]


def test_lines_may_be_empty_and_end_as_on_windows(tmp_path):
    assert listed(b"\xef\xbb\xbfa b.png\r\n\r\nc.png\n \nd.png", "lines", tmp_path) == [
        "a b.png",
        "c.png",
        "d.png",
    ]


def test_names_between_nuls_may_have_any_bytes(tmp_path):
    content = b"\0".join(odd_names()) + b"\0"
    assert [os.fsencode(name) for name in listed(content, "null", tmp_path)] == odd_names()
    assert listed(b"\xef\xbb\xbfa.png\0b.png", "null", tmp_path) == ["a.png", "b.png"]
    long = b"\0".join(b"%060d.png" % n for n in range(5_000))
    assert len(listed(long, "null", tmp_path)) == 5_000


@pytest.mark.parametrize(
    "row",
    [
        '{"image": "a.png"}',
        '{"x": 1, "file_name": "a.png"}',
        '{"image": {"path": "a.png"}}',
        '"a.png"',
    ],
)
def test_a_json_line_names_its_image_under_a_usual_key(tmp_path, row):
    assert listed(f"{row}\n\n".encode(), "jsonl", tmp_path) == ["a.png"]


def test_captunes_own_rows_are_a_list(tmp_path):
    row = {"image_id": "photos/\udcff.png", "caption": "a dog"}
    assert listed(json.dumps(row).encode(), "jsonl", tmp_path) == ["photos/\udcff.png"]
    content = b'image_id,caption\r\n\'=a.png,"a dog, running"\r\n'
    assert listed(content, "csv", tmp_path) == ["=a.png"]


def test_a_csv_may_have_other_separators_and_a_named_column(tmp_path):
    content = b"number;photo of it\n1;a.png\n2;\n3;b\xff.png\n"
    assert listed(content, "csv", tmp_path, "photo of it") == ["a.png", "b\udcff.png"]


@pytest.mark.parametrize(
    ("content", "column"),
    [
        (b"sep=;\r\nimage;text\r\na.png;One, two\r\nb.png;Three\r\n", None),
        (b'"sep=|"\n\nbild|text\na.png|One\nb.png|Two, three, four\n', "bild"),
        ("sep=\t\r\nimage\ttext\r\na.png\tOne\r\nb.png\tTwo\r\n".encode("utf-16"), None),
        (b'number, image\n1, "a.png"\n2, "b.png"\n', None),
        # Without a header, the first row is an image like the others.
        (b"a.png\nb.png\n", None),
        (b"1;a.png;One, two, three\n2;b.png;Four\n", None),
        (b"sep=,\nc.png,a.png\nd.png,b.png\n", "2"),
    ],
)
def test_csv_lists_of_spreadsheets_are_read_as_data_sets_are(tmp_path, content, column):
    assert listed(content, "csv", tmp_path, column) == ["a.png", "b.png"]


def test_lines_before_a_header_are_counted(tmp_path):
    with pytest.raises(DataError, match="list, line 3"):
        listed(b"sep=;\n\ntext;number\na;1\n", "csv", tmp_path)
    with pytest.raises(DataError, match="list, line 5"):
        listed(b'sep=;\n\nimage;text\na.png;A\n"b.png', "csv", tmp_path)


def test_a_csv_list_of_blank_lines_names_no_image(tmp_path):
    with pytest.raises(DataError, match="no column names an image"):
        listed(b"\n" * 100_000, "csv", tmp_path)


def test_the_first_rows_of_a_csv_list_are_read_before_the_others_are_written():
    here, there = os.pipe()
    with os.fdopen(here, "rb") as file, os.fdopen(there, "wb", buffering=0) as end:
        end.write(b"image\na.png\n")
        entries = read_list(f"/dev/fd/{file.fileno()}", "csv")
        assert next(entries).text == "a.png"


def test_a_list_of_windows_powershell_is_read(tmp_path):
    names = ["photos/\u010a.png", "photos/\u72ac b.png"]  # The first has the byte of a line feed.
    rows = [json.dumps(name) for name in names]
    for encoding in ("utf-16", "utf-32", "utf-8-sig"):
        for form, lines in (("lines", names), ("csv", ["image", *names]), ("jsonl", rows)):
            content = "\r\n".join(lines).encode(encoding)
            assert listed(content, form, tmp_path) == names


@pytest.mark.parametrize(
    ("form", "content", "message"),
    [
        ("jsonl", b'{"image": "a.png"}\n{"image": ', "list, line 2"),
        ("jsonl", b"[1]\n", "list, line 1"),
        ("jsonl", b'{"text": "a dog"}\n', "list, line 1"),
        ("jsonl", b'{"image": 3}\n', "does not name an image: 3"),
        ("jsonl", b"[" * 100_000, "list, line 1"),
        ("jsonl", b"1" * 5_000, "list, line 1"),
        ("csv", b"text,number\na,1\n", "the columns are: text, number"),
        ("csv", b'image\n"a.png\n', "list, line"),
        ("lines", b"x" * 70_000, "list, line 1"),
        ("lines", b"a.png\n" + b"x" * 70_000, "list, line 2"),
        ("null", b"x" * 70_000 * 2, "list, entry 1"),
        ("csv", b"image\n" + b"x" * 2_000_000, "too long to name an image"),
        ("lines", b"photos/a.png\0photos/b.png\0", "add --from-format null"),
        ("lines", "a.png\r\n".encode("utf-16") + b"b", "begins as UTF-16, but is not"),
        ("csv", ("image\r\n" + "x" * 2_000_000).encode("utf-16"), "list, line 2"),
        ("csv", b"image\ra.png\rb.png\r", "list, line 1"),
        ("csv", b"image" * 50_000, "list, line 1"),
        ("null", "a.png\0".encode("utf-16"), "the list is in UTF-16"),
    ],
)
def test_a_broken_entry_is_an_error_with_its_place(tmp_path, form, content, message):
    with pytest.raises(DataError) as caught:
        listed(content, form, tmp_path)
    assert message in str(caught.value)


def test_a_list_that_does_not_exist_is_an_error_at_once():
    with pytest.raises(DataError, match=r"cannot read the list no-such-list") as caught:
        find_items([], SourceOptions(list_from="no-such-list"))
    assert caught.value.where == "--from"


def test_each_entry_is_listed_once_and_a_missing_one_is_not_an_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_photos(tmp_path / "photos", 3)
    text = "photos/photo000001.png\nphotos/../photos/photo000001.png\nphotos\nhttps://a.org/b.png\nno\n"
    (tmp_path / "list").write_text(text)
    found = list(find_items(["photos/photo000000.png"], SourceOptions(list_from="list")))
    shown = [(one.name, getattr(one, "error", None) and one.error.what) for one in found]
    assert shown == [
        ("photos/photo000000.png", None),
        ("photos/photo000001.png", None),
        ("photos", "io"),
        ("https://a.org/b.png", "url_forbidden"),
        ("no", None),
    ]
    assert look_at(found[-1]).size is None


def test_a_name_with_nul_is_listed_as_a_failure(tmp_path):
    (tmp_path / "list").write_text('{"image": "photos/a\\u0000/b.png"}\n')
    options = SourceOptions(list_from=str(tmp_path / "list"), list_format="jsonl")
    (found,) = find_items([], options)
    assert (found.name, found.error.what) == ("photos/a\0/b.png", "missing")


def test_a_list_is_read_from_stdin(tmp_path, monkeypatch):
    write_photos(tmp_path, 1)
    content = f"{tmp_path}/photo000000.png\n".encode()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    (item,) = find_items([], SourceOptions(list_from="-"))
    assert item.path == tmp_path / "photo000000.png"


def test_a_process_without_stdin_has_no_list_there(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(DataError, match="there is no stdin"):
        find_items([], SourceOptions(list_from="-"))


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="a file of Linux")
@pytest.mark.parametrize("form", ["lines", "null", "jsonl", "csv"])
def test_a_list_that_cannot_be_read_is_named(form):
    with pytest.raises(DataError, match="cannot read the list /proc/self/mem: "):
        list(read_list("/proc/self/mem", form))
