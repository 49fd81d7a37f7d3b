"""Text files beside images: one line, and the texts of others are kept byte for byte."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from captune.bulk.formats import open_per_image
from captune.bulk.items import Item
from captune.errors import OutputError
from captune.inference import ImageFile

TXT = open_per_image("txt")


@pytest.mark.parametrize(
    ("content", "has"),
    [
        (b"", False),
        (b" \r\n", False),
        (b"\xef\xbb\xbf", False),
        (b"\xef\xbb\xbf \r\n", False),
        (b"\xff\xfe", False),
        (b"\xff\xfe\r\0\n\0", False),
        (b"\xfe\xff\0\n", False),
        (b"\xef\xbb\xbfa", True),
        (b"caf\xe9\r\n", True),
        ("\ufeffhund".encode("utf-16-le"), True),
    ],
)
def test_white_space_and_a_byte_order_mark_are_not_a_caption(tmp_path, content, has):
    (tmp_path / "a.txt").write_bytes(content)
    assert TXT.has_caption(tmp_path / "a.txt") == has


@pytest.mark.skipif(os.name == "nt", reason="named pipes in the file system")
def test_a_pipe_with_the_name_of_a_text_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "a.txt")
    with pytest.raises(OutputError, match="is a named pipe"):
        TXT.has_caption(tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("earlier", "appended", "prepended"),
    [
        (None, b"a dog\n", b"a dog\n"),
        (b"", b"a dog\n", b"a dog\n"),
        (b"mine", b"mine\na dog\n", b"a dog\nmine"),
        (b"mine\r\n", b"mine\r\na dog\r\n", b"a dog\r\nmine\r\n"),
        (b"\xef\xbb\xbfmine\n", b"\xef\xbb\xbfmine\na dog\n", b"\xef\xbb\xbfa dog\nmine\n"),
        (b"caf\xe9\n", b"caf\xe9\na dog\n", b"a dog\ncaf\xe9\n"),
        (
            b"\xff\xfem\0\n\0",
            b"\xff\xfem\0\n\0" + "a dog\n".encode("utf-16-le"),
            b"\xff\xfe" + "a dog\n".encode("utf-16-le") + b"m\0\n\0",
        ),
    ],
)
def test_a_line_is_added_in_the_style_of_the_file_and_removed_to_the_byte(
    earlier, appended, prepended
):
    for existing, expected in (("append", appended), ("prepend", prepended)):
        change = TXT.change(earlier, " a\ndog ", existing=existing)
        assert change.new == expected
        assert TXT.restore(change.new, change.undo) == earlier


def test_a_replaced_text_becomes_one_line_and_is_restored_to_the_byte():
    change = TXT.change(b"caf\xe9\r\n\r\n", "two\nlines", existing="overwrite")
    assert change.new == b"two lines\n"
    assert TXT.restore(change.new, change.undo) == b"caf\xe9\r\n\r\n"


@pytest.mark.parametrize(("naming", "name"), [("stem", "a.b.caption"), ("full", "a.b.jpg.caption")])
def test_a_file_is_named_after_its_image(naming, name):
    form = open_per_image("caption", naming=naming)
    assert form.path_for(Item("x", ImageFile("f/a.b.jpg"))) == Path("f") / name
