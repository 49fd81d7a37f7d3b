"""Images named by files, folders and globs: in order, each once, none opened."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from captune.errors import DataError
from captune.inference import ImageFile, ImageSearch, SkippedLink, check_url, no_images


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    (root / "sub" / "deep").mkdir(parents=True)
    for name in ("b.JPG", "a.png", "notes.txt", ".hidden.jpg", "sub/c.webp", "sub/deep/d.jpeg"):
        (root / name).write_bytes(b"x")
    return root


def find(*inputs: Path | str, follow_links: bool = False):
    search = ImageSearch(follow_links=follow_links)
    return [one for given in inputs for one in search.expand(str(given))]


def names(found, root: Path) -> list[str]:
    images = [one.path for one in found if isinstance(one, ImageFile)]
    return [path.relative_to(root).as_posix() for path in images]


def links(found) -> list[str]:
    return [one.path.name for one in found if isinstance(one, SkippedLink)]


def test_a_folder_is_searched_recursively_in_order_of_names(folder):
    found = find(folder)
    assert names(found, folder) == ["a.png", "b.JPG", "sub/c.webp", "sub/deep/d.jpeg"]


@pytest.mark.parametrize("system", ["@eaDir", "#recycle", "#snapshot", "$RECYCLE.BIN"])
def test_system_folders_of_network_storage_are_skipped_unless_named(folder, system):
    (folder / "sub" / system).mkdir()
    (folder / "sub" / system / "thumb.jpg").write_bytes(b"x")
    assert len(names(find(folder), folder)) == 4
    inside = find(folder, folder / "sub" / system)
    assert names(inside, folder)[-1] == f"sub/{system}/thumb.jpg"


def test_a_file_given_by_name_may_have_any_extension(folder):
    assert names(find(folder / "notes.txt"), folder) == ["notes.txt"]


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
    assert names(find(f"{folder}/{pattern}"), folder) == expected


def test_an_image_given_twice_appears_once_at_its_first_place(folder):
    inputs = [folder / "b.JPG", folder, folder / "sub" / ".." / "a.png"]
    assert names(find(*inputs), folder) == [
        "b.JPG",
        "a.png",
        "sub/c.webp",
        "sub/deep/d.jpeg",
    ]


def test_an_existing_name_with_brackets_is_a_file_and_not_a_glob(folder):
    (folder / "[1].jpg").write_bytes(b"x")
    assert names(find(folder / "[1].jpg"), folder) == ["[1].jpg"]


def test_link_loops_end_and_links_out_of_the_folder_are_not_followed(folder, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "o.jpg").write_bytes(b"x")
    (folder / "sub" / "loop").symlink_to(folder)
    (folder / "out").symlink_to(outside)
    (folder / "out.jpg").symlink_to(outside / "o.jpg")
    (folder / "inside.jpg").symlink_to(folder / "a.png")
    found = find(folder)
    assert names(found, folder) == [
        "a.png",
        "b.JPG",
        "inside.jpg",
        "sub/c.webp",
        "sub/deep/d.jpeg",
    ]
    assert links(found) == ["out", "out.jpg"]
    followed = find(folder, follow_links=True)
    assert "out/o.jpg" in names(followed, folder)
    assert "out.jpg" in names(followed, folder)
    assert links(followed) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_is_listed_and_not_opened(folder):
    os.mkfifo(folder / "pipe.jpg")
    assert "pipe.jpg" in names(find(folder), folder)


@pytest.mark.parametrize(
    "name",
    ["line\nbreak.jpg", "émoji 🦊.jpg", "\u202egpj.jpg", "CON.jpg", "-n.jpg", "x" * 251 + ".jpg"],
)
def test_odd_names_are_found(folder, name):
    (folder / name).write_bytes(b"x")
    assert name in names(find(folder), folder)


def test_names_that_are_not_utf_8_are_found(folder):
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.jpg")).write_bytes(b"x")
    assert "\udcff.jpg" in names(find(folder), folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{folder}/b.JPGG", r"there is no .*b\.JPGG \(did you mean .*b\.JPG\?\)"),
        ("{folder}/*.gif", r"nothing matches .*\*\.gif"),
    ],
)
def test_the_error_names_an_input_that_does_not_exist(folder, text, message):
    with pytest.raises(DataError, match=message):
        find(text.format(folder=folder))


def test_a_url_is_refused_unless_rules_allow_it():
    with pytest.raises(DataError, match=r"https://example\.org/a\.jpg is a URL"):
        check_url("https://example.org/a.jpg", None)


def test_a_folder_without_images_gives_none_and_the_error_lists_the_extensions(tmp_path):
    assert find(tmp_path) == []
    error = no_images([str(tmp_path)])
    assert f"no images in {tmp_path}" in error.what
    assert ".jpeg .jpg" in error.fix
