"""The notebook widget, used as a person would use it."""

from __future__ import annotations

import datetime
import html
import io
import re
from pathlib import Path

import pytest
from PIL import Image

import captune
from captune.errors import DataError
from captune.models import build_size, train_tokenizer
from captune.notebook import Demo, demo, show_report
from captune.recipe import TokenizerConfig
from captune.text_safety import clean_text


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    captions = ["a red dog runs on the grass", "two cats & a <b>mat</b>"]
    build_size("blip-tiny", train_tokenizer(captions, TokenizerConfig(min_count=1))).save(folder)
    return folder


def photograph(*, turned: bool = False) -> bytes:
    image = Image.new("RGB", (80, 40), (200, 30, 30))
    buffer = io.BytesIO()
    exif = Image.Exif()
    if turned:
        exif[274] = 6
    image.save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def give(shown: Demo, content: bytes) -> None:
    """Send the message that a browser sends when a file is chosen."""
    shown.upload.value = (
        {
            "name": "photo.jpg",
            "type": "image/jpeg",
            "size": len(content),
            "content": memoryview(content),
            "last_modified": datetime.datetime.now(datetime.UTC),
        },
    )


def test_choosing_an_image_shows_it_with_its_caption(model: Path) -> None:
    shown = demo(model)
    give(shown, photograph())
    expected = captune.load(model).caption(photograph(), num_beams=3, max_new_tokens=30)
    assert captune_text(shown) == clean_text(expected[0].caption)
    assert Image.open(io.BytesIO(shown.picture.value)).size == (80, 40)
    assert shown.picture.layout.display == ""
    assert not shown.button.disabled


def captune_text(shown: Demo) -> str:
    return html.unescape(shown.caption.value.removeprefix("<big>").removesuffix("</big>"))


def test_the_sliders_have_the_ranges_and_the_button_uses_them(model: Path) -> None:
    shown = demo(captune.load(model))
    assert (shown.num_beams.min, shown.num_beams.max) == (1, 8)
    assert (shown.max_new_tokens.min, shown.max_new_tokens.max) == (8, 48)
    give(shown, photograph())
    shown.num_beams.value, shown.max_new_tokens.value = 1, 8
    shown.button.click()
    expected = captune.load(model).caption(photograph(), num_beams=1, max_new_tokens=8)
    assert captune_text(shown) == clean_text(expected[0].caption)


def test_a_photograph_is_shown_upright(model: Path) -> None:
    shown = demo(model)
    give(shown, photograph(turned=True))
    assert Image.open(io.BytesIO(shown.picture.value)).size == (40, 80)


def test_a_file_that_is_not_an_image_is_reported_and_the_next_image_works(model: Path) -> None:
    shown = demo(model)
    shown.button.click()
    assert "choose an image first" in shown.caption.value
    give(shown, b"<html>not found</html>")
    assert shown.caption.value.startswith("<b>not captioned:</b>")
    assert shown.picture.layout.display == "none"
    give(shown, photograph())
    assert shown.caption.value.startswith("<big>")


def test_the_widgets_are_shown_as_one_panel(model: Path) -> None:
    shown = demo(model)
    inside = [child for box in shown.panel.children for child in box.children]
    assert set(inside) >= {shown.upload, shown.num_beams, shown.button, shown.picture}


def test_the_report_is_shown_from_inside_the_notebook(tmp_path: Path) -> None:
    page = '<!doctype html><title>Report</title><p class="a">5 < 6 & "quoted"</p>'
    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    frame = show_report(tmp_path, height=300).data
    (stored,) = re.findall(r'srcdoc="([^"]*)"', frame)
    assert html.unescape(stored) == page
    assert 'height="300"' in frame


def test_a_run_without_a_report_names_the_command_that_writes_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no report in ") as error:
        show_report(tmp_path)
    assert "--only report" in str(error.value.fix)
