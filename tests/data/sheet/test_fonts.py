"""Characters that the built-in font lacks are drawn with an installed font that has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from PIL import Image

from captune.data import contact_sheet, find_fonts, name_missing_glyphs
from captune.data.sheet import fonts
from captune.evaluation.report.png import save_figure
from captune.records import CaptionRecord

DOG = "\u72ac"


def build_font(path: Path, *, family: str, letters: str) -> None:
    """Write a font that draws each letter as a full square."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 900), (900, 900), (900, 0)):
        pen.lineTo(corner)
    pen.closePath()
    builder = FontBuilder(1000, isTTF=True)
    names = [".notdef", *(f"u{ord(letter):X}" for letter in letters)]
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap(dict(zip(map(ord, letters), names[1:], strict=True)))
    builder.setupGlyf(dict.fromkeys(names, pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (1000, 0)))
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2(usWeightClass=400)
    builder.setupPost()
    builder.save(path)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Return a function that installs a font for some letters; only such fonts are installed."""
    own = [entry for entry in fontManager.ttflist if entry.name == "DejaVu Sans"]
    monkeypatch.setattr(fontManager, "ttflist", own)
    fonts._installed_fonts.cache_clear()

    def install(family: str, letters: str) -> None:
        path = tmp_path / f"{family}.ttf"
        build_font(path, family=family, letters=letters)
        fontManager.addfont(path)
        fonts._installed_fonts.cache_clear()

    yield install
    fonts._installed_fonts.cache_clear()
    fontManager._findfont_cached.cache_clear()


def draw(caption: str, blank: bytes) -> np.ndarray:
    return np.asarray(contact_sheet([CaptionRecord("a", blank, (caption,))], cell_width=200))


def test_few_fonts_that_have_the_missing_characters_are_found(installed) -> None:
    installed("Has Two", DOG + "\u732b")
    installed("Has One", DOG)
    found = find_fonts(["a dog", DOG, "\u732b"])
    assert [font.family for font in found] == ["Has Two"]
    assert find_fonts(["caf\u00e9", "\u0441\u043e\u0431\u0430\u043a\u0430"]) == []


def test_characters_that_no_font_has_are_named(installed) -> None:
    installed("Has One", DOG)
    assert name_missing_glyphs([f"{DOG}\u732b\u202f", "a"]) == "\u732b"
    assert name_missing_glyphs([DOG]) == ""
    many = "".join(chr(0x4E00 + n) for n in range(9))
    assert name_missing_glyphs([many]) == "\u4e00, \u4e01, \u4e02, \u4e03, \u4e04, ..."


def test_a_contact_sheet_draws_them(installed, png_bytes) -> None:
    boxes = draw(DOG * 3, png_bytes())
    installed("Has Dogs", DOG + "a ")
    drawn = draw(DOG * 3, png_bytes())
    ink = (drawn < 100).all(axis=2).sum() - (boxes < 100).all(axis=2).sum()
    assert ink > 200, "three full squares have more ink than three boxes"


def test_plots_draw_them(installed, tmp_path) -> None:
    installed("Has Dogs", DOG)
    figure = Figure(figsize=(2, 1))
    figure.text(0.1, 0.4, DOG * 3, fontsize=20)
    save_figure(tmp_path / "plot.png", figure)
    with Image.open(tmp_path / "plot.png") as plot:
        pixels = np.asarray(plot.convert("L"))
    assert (pixels < 50).sum() > 1000


def test_a_font_for_one_script_does_not_draw_the_others(installed, png_bytes) -> None:
    installed("Only Dogs", DOG)
    before = draw("a small dog at home", png_bytes())
    assert (draw("a small dog at home", png_bytes()) == before).all()
    assert fonts.choose_font(f"a small dog, {DOG}") == fonts.choose_font("a small dog")


def test_fonts_of_colours_and_of_last_resort_are_not_used(installed) -> None:
    installed("Some Color Emoji", "\U0001f9ff")
    installed("Last Resort High-Efficiency", "\U0001f9ff")
    assert find_fonts(["\U0001f9ff"]) == []
