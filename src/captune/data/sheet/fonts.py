"""Fonts for characters that the built-in font lacks, such as those of Chinese and Thai.

matplotlib is a dependency of captune and brings a font of 6,000 glyphs, the same on every machine.
Other characters need a font of the system; without one they are drawn as boxes.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Font:
    """An installed font.

    Attributes:
        family: Its name in matplotlib.
        path: Its file.
        characters: The code points that it has glyphs for.
    """

    family: str
    path: Path
    characters: frozenset[int]


def find_fonts(texts: Iterable[str]) -> list[Font]:
    """Return installed fonts for the characters that the built-in font lacks, few and the best.

    Args:
        texts: Everything that is to be drawn.

    Returns:
        No font if none is needed, or none has these characters.
    """
    missing = _find_missing(texts)
    chosen: list[Font] = []
    while missing:
        best = max(
            _installed_fonts(), key=lambda font: len(font.characters & missing), default=None
        )
        if best is None or not best.characters & missing:
            break
        chosen.append(best)
        missing -= best.characters
    return chosen


def name_missing_glyphs(texts: Iterable[str]) -> str:
    """Return some of the characters that no installed font has, as text; empty: there are none."""
    texts = tuple(texts)
    missing = _find_missing(texts)
    for font in find_fonts(texts):
        missing -= font.characters
    named = ", ".join(map(chr, sorted(missing)[:_MOST_NAMED]))
    return f"{named}, ..." if len(missing) > _MOST_NAMED else named


def choose_font(text: str) -> Path | None:
    """Return the file of the font with most of a text's characters: if possible the built-in one.

    Returns:
        `None`: there is no built-in font, and no other is needed.
    """
    builtin = _builtin_font()
    if not _find_missing([text]):
        return builtin
    drawn = set(map(ord, text))
    most, chosen = len(_builtin_characters() & drawn), builtin
    for font in _installed_fonts():
        if len(font.characters & drawn) > most:
            most, chosen = len(font.characters & drawn), font.path
    return chosen


def _builtin_font() -> Path | None:
    """Return the file of matplotlib's font; `None`: this matplotlib does not have it."""
    found = importlib.util.find_spec("matplotlib")
    if found is None or found.origin is None:
        return None
    path = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
    return path if path.is_file() else None


def _find_missing(texts: Iterable[str]) -> set[int]:
    """Return the code points that are drawn and that the built-in font lacks."""
    found = {letter for text in texts for letter in set(text) if ord(letter) > 0x7F}
    drawn = {ord(letter) for letter in found if letter.isprintable() and not letter.isspace()}
    return drawn - _builtin_characters() if drawn else drawn


@functools.cache
def _builtin_characters() -> frozenset[int]:
    path = _builtin_font()
    return frozenset() if path is None else _read_characters(path)


@functools.cache
def _installed_fonts() -> tuple[Font, ...]:
    """Return the installed fonts that can be scaled, upright ones of normal weight first."""
    from matplotlib.font_manager import fontManager

    entries = sorted(
        fontManager.ttflist,
        key=lambda entry: (
            entry.style != "normal",
            abs(entry.weight - 400) if isinstance(entry.weight, int) else 0,
            entry.name,
        ),
    )
    fonts = []
    for entry in entries:
        # The glyphs of the last one are the names of scripts, and colours cannot be drawn.
        if not {"color", "lastresort"} & set(_words(entry.name)):
            path = Path(entry.fname)
            fonts.append(Font(entry.name, path, _read_characters(path)))
    return tuple(fonts)


def _words(name: str) -> list[str]:
    return name.lower().replace("last resort", "lastresort").replace(".", " ").split()


def _read_characters(path: Path) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(str(path))
    except (OSError, RuntimeError):
        # Deleted since matplotlib listed it, or damaged.
        return frozenset()
    return frozenset(font.get_charmap()) if font.scalable else frozenset()
