"""Text files beside images: the texts of others are never lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from captune.errors import OutputError
from captune.inference import open_destination
from captune.records import Prediction


def prediction(image: Path) -> Prediction:
    return Prediction(str(image), "a dog", -0.5, 3, "eos", ())


def sidecars(*images: Path, **settings):
    return open_destination("txt", list(images), out=images[0], made_by={}, **settings)


@pytest.mark.parametrize("force", [False, True])
def test_a_text_written_by_hand_during_the_run_is_kept(tmp_path, force):
    image, text = tmp_path / "a.jpg", tmp_path / "a.txt"
    with sidecars(image, force=force) as destination:
        assert not destination.has(str(image))
        text.write_text("mine")
        assert not destination.write(prediction(image))
        destination.finish()
    assert text.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_force_replaces_texts_from_before_the_run(tmp_path):
    image, text = tmp_path / "a.jpg", tmp_path / "a.txt"
    text.write_text("old")
    with sidecars(image, force=True) as destination:
        assert not destination.has(str(image))
        assert destination.write(prediction(image))
    assert text.read_text() == "a dog\n"


def test_an_empty_text_that_appears_during_the_run_is_replaced(tmp_path):
    image, text = tmp_path / "a.jpg", tmp_path / "a.txt"
    with sidecars(image) as destination:
        assert not destination.has(str(image))
        text.touch()
        assert destination.write(prediction(image))
    assert text.read_text() == "a dog\n"


@pytest.mark.parametrize(
    ("content", "has"),
    [
        (b"\xef\xbb\xbf", False),
        (b"\xef\xbb\xbf \r\n", False),
        (b"\xff\xfe", False),
        (b"\xff\xfe\r\0\n\0", False),
        (b"\xfe\xff\0\n", False),
        (b"\xef\xbb\xbfa", True),
        ("\ufeffhund".encode("utf-16-le"), True),
    ],
)
def test_a_byte_order_mark_alone_is_not_a_caption(tmp_path, content, has):
    image = tmp_path / "a.jpg"
    (tmp_path / "a.txt").write_bytes(content)
    with sidecars(image) as destination:
        assert destination.has(str(image)) == has


def test_a_second_run_on_the_same_folder_is_refused(tmp_path):
    (tmp_path / "sub").mkdir()
    with (
        sidecars(tmp_path / "a.jpg", tmp_path / "sub" / "b.jpg"),
        pytest.raises(OutputError, match=r"sub is in use by process"),
    ):
        sidecars(tmp_path / "sub" / "b.jpg")
    with sidecars(tmp_path / "sub" / "b.jpg"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["sub"]


@pytest.mark.skipif(os.name == "nt", reason="named pipes in the file system")
def test_a_pipe_with_the_name_of_a_text_is_refused(tmp_path):
    os.mkfifo(tmp_path / "a.txt")
    with (
        sidecars(tmp_path / "a.jpg") as destination,
        pytest.raises(OutputError, match="is a named pipe"),
    ):
        destination.has(str(tmp_path / "a.jpg"))


def test_names_that_differ_only_in_case_collide_on_case_insensitive_systems(tmp_path, monkeypatch):
    images = [tmp_path / "photo.jpg", tmp_path / "Photo.png"]
    for image in images:
        image.touch()
    with sidecars(*images):
        pass
    # As on Windows and macOS.
    monkeypatch.setattr(Path, "samefile", lambda one, other: str(one).lower() == str(other).lower())
    with pytest.raises(OutputError, match=r"photo\.jpg and Photo\.png would share the file"):
        sidecars(*images)
