"""The run page: complete, escaped, offline."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from captune.bulk.items import Item
from captune.bulk.page import RunCounts, RunWatch, write_run_page
from captune.errors import ImageError
from captune.evaluation import Fact
from captune.inference import ImageFile
from captune.records import Prediction

EVIL = '<script>alert("x")</script> ]]> \x00\u202eevil\ud800 "quoted"'


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.linear_gradient("L").convert("RGB").save(path)
    return path


def page_of(tmp_path: Path, watch: RunWatch, counts: RunCounts) -> tuple[str, Tags]:
    path = tmp_path / "run.html"
    facts = [Fact("Model", EVIL)]
    write_run_page(path, watch, title=EVIL, counts=counts, facts=facts, decode="inline")
    content = path.read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(content)
    return content, tags


def watched(photo: Path, caption: str = "a dog", *, number: int = 3) -> RunWatch:
    watch = RunWatch()
    for place in range(number):
        name = f"{place} {EVIL}.jpg"
        watch.add(Item(name, ImageFile(str(photo))), Prediction(name, caption, -0.5, 5, "eos", ()))
    return watch


def test_strangers_text_never_becomes_markup(photo: Path, tmp_path: Path) -> None:
    watch = watched(photo, EVIL)
    watch.fail(EVIL, ImageError("empty", where=EVIL), image=photo)
    content, tags = page_of(tmp_path, watch, RunCounts(4, 3, 0, 1))
    assert tags.tags.count("script") == 1
    assert "<script>alert" not in content
    assert '<script>alert("x")</script>' in tags.text
    assert not re.search("[\x00\u202e\ud800]", content)


def test_the_page_loads_nothing_from_elsewhere(photo: Path, tmp_path: Path) -> None:
    _, tags = page_of(tmp_path, watched(photo), RunCounts(3, 3, 0, 0))
    assert tags.links
    assert all(link.startswith(("#", "data:")) for link in tags.links)


def test_captions_have_thumbnails(photo: Path, tmp_path: Path) -> None:
    content, tags = page_of(tmp_path, watched(photo), RunCounts(3, 3, 0, 0))
    assert tags.tags.count("article") >= 3
    assert content.count("data:image/jpeg;base64") == tags.tags.count("img")


def test_an_image_that_vanished_is_named(photo: Path, tmp_path: Path) -> None:
    watch = watched(photo)
    photo.unlink()
    _, tags = page_of(tmp_path, watch, RunCounts(3, 3, 0, 0))
    assert "cannot be shown: missing" in tags.text


def test_counts_reasons_and_shares_are_shown(photo: Path, tmp_path: Path) -> None:
    watch = watched(photo)
    for number in range(7):
        watch.fail(f"{number}.jpg", ImageError("truncated", where="cut at byte 12"))
    _, tags = page_of(tmp_path, watch, RunCounts(12, 3, 2, 7))
    text = " ".join(tags.text.split())
    assert "3 images captioned, 7 failed" in text
    assert "12 found; 2 had captions already." in text
    assert "7×truncated58.3 %" in text
    assert "cut at byte 12" in text


def test_a_failure_names_its_image_once_and_how_to_fix_it(photo: Path, tmp_path: Path) -> None:
    watch = watched(photo)
    watch.fail("a/lfs.jpg", ImageError("git_lfs_pointer", where="a/lfs.jpg", fix="`git lfs pull`"))
    watch.fail("a/b.jpg", ImageError("empty", where="a/b.jpg: 0 bytes"))
    content, tags = page_of(tmp_path, watch, RunCounts(5, 3, 0, 2))
    assert content.count("a/lfs.jpg") == content.count("a/b.jpg") == 1
    text = " ".join(tags.text.split())
    assert "git_lfs_pointerFix: `git lfs pull`" in text
    assert "empty0 bytes" in text


def test_a_run_whose_captions_are_all_the_same_raises_a_warning(
    photo: Path, tmp_path: Path
) -> None:
    _, tags = page_of(tmp_path, watched(photo, number=30), RunCounts(30, 30, 0, 0))
    assert "100 % of the captions are the same: “a dog”" in " ".join(tags.text.split())


def test_a_run_without_captions_has_a_page(tmp_path: Path) -> None:
    watch = RunWatch()
    watch.fail("a.jpg", ImageError("empty"))
    _, tags = page_of(tmp_path, watch, RunCounts(1, 0, 0, 1))
    assert "0 images captioned, 1 failed" in tags.text


def test_the_speed_and_the_lengths_are_drawn(photo: Path, tmp_path: Path) -> None:
    content, _ = page_of(tmp_path, watched(photo), RunCounts(3, 3, 0, 0))
    assert "Images per second during the run" in content
    assert 'class="line validation"' in content or 'class="dot validation"' in content
    assert "Length of the captions in words" in content
