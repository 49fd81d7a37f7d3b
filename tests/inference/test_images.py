"""Files, folders and globs name images: in order, each once, none opened."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from captune.errors import DataError
from captune.inference import find_images


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    (root / "sub" / "deep").mkdir(parents=True)
    for name in ("b.JPG", "a.png", "notes.txt", ".hidden.jpg", "sub/c.webp", "sub/deep/d.jpeg"):
        (root / name).write_bytes(b"x")
    return root


def names(found, root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in found.paths]


def test_a_folder_is_searched_recursively_in_order_of_names(folder):
    found = find_images([str(folder)])
    assert names(found, folder) == ["a.png", "b.JPG", "sub/c.webp", "sub/deep/d.jpeg"]


def test_a_file_given_by_name_may_have_any_ending(folder):
    assert names(find_images([str(folder / "notes.txt")]), folder) == ["notes.txt"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*", ["a.png", "b.JPG", "sub/c.webp", "sub/deep/d.jpeg"]),
        ("*.png", ["a.png"]),
        ("**/*.*p*g", ["a.png", "sub/deep/d.jpeg"]),
        ("sub/[cd].*", ["sub/c.webp"]),
    ],
)
def test_globs_match_images_and_folders(folder, pattern, expected):
    assert names(find_images([f"{folder}/{pattern}"]), folder) == expected


def test_an_image_given_twice_appears_once_at_its_first_place(folder):
    inputs = [str(folder / "b.JPG"), str(folder), str(folder / "sub" / ".." / "a.png")]
    assert names(find_images(inputs), folder) == [
        "b.JPG",
        "a.png",
        "sub/c.webp",
        "sub/deep/d.jpeg",
    ]


def test_an_existing_name_with_brackets_is_a_file_and_not_a_glob(folder):
    (folder / "[1].jpg").write_bytes(b"x")
    assert names(find_images([str(folder / "[1].jpg")]), folder) == ["[1].jpg"]


def test_link_loops_end_and_links_out_of_the_folder_are_not_followed(folder, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "o.jpg").write_bytes(b"x")
    (folder / "sub" / "loop").symlink_to(folder)
    (folder / "out").symlink_to(outside)
    (folder / "out.jpg").symlink_to(outside / "o.jpg")
    (folder / "inside.jpg").symlink_to(folder / "a.png")
    found = find_images([str(folder)])
    assert names(found, folder) == [
        "a.png",
        "b.JPG",
        "inside.jpg",
        "sub/c.webp",
        "sub/deep/d.jpeg",
    ]
    assert [path.name for path in found.skipped_links] == ["out", "out.jpg"]
    followed = find_images([str(folder)], follow_links=True)
    assert "out/o.jpg" in names(followed, folder)
    assert "out.jpg" in names(followed, folder)
    assert followed.skipped_links == ()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_is_listed_and_not_opened(folder):
    os.mkfifo(folder / "pipe.jpg")
    assert "pipe.jpg" in names(find_images([str(folder)]), folder)


@pytest.mark.parametrize(
    "name",
    ["line\nbreak.jpg", "émoji 🦊.jpg", "\u202egpj.jpg", "CON.jpg", "-n.jpg", "x" * 251 + ".jpg"],
)
def test_odd_names_are_found(folder, name):
    (folder / name).write_bytes(b"x")
    assert name in names(find_images([str(folder)]), folder)


def test_names_that_are_not_utf_8_are_found(folder):
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.jpg")).write_bytes(b"x")
    assert "\udcff.jpg" in names(find_images([str(folder)]), folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{folder}/b.JPGG", r"there is no .*b\.JPGG \(did you mean .*b\.JPG\?\)"),
        ("{folder}/*.gif", r"nothing matches .*\*\.gif"),
        ("https://example.org/a.jpg", "https://example.org/a.jpg is a URL"),
    ],
)
def test_the_error_names_an_input_that_does_not_exist(folder, text, message):
    with pytest.raises(DataError, match=message):
        find_images([text.format(folder=folder)])


def test_the_error_for_a_folder_without_images_lists_the_endings(tmp_path):
    with pytest.raises(DataError, match=re.escape(f"no images in {tmp_path}")) as caught:
        find_images([str(tmp_path)])
    assert ".jpeg .jpg" in caught.value.fix
