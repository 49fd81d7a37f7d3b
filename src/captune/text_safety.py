"""Escaping of untrusted text, in one module.

File names, captions, recipes and model names come from other people's files or from a model. Each
place interprets other characters: a terminal obeys control codes and direction marks, a page
obeys markup, a spreadsheet runs cells that look like formulas.
"""

from __future__ import annotations

import html
import json
import re
from typing import Any

_SURROGATES = re.compile("[\ud800-\udfff]")
# Except those that Python uses for bytes of file names that are not UTF-8; it can write them.
_OTHER_SURROGATES = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")
_BLANKS = re.compile(r"[\t\n\r\x85\u2028\u2029]+")
_BIDI_CONTROLS = re.compile("[\u202a-\u202e\u2066-\u2069]")
_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_MARKDOWN = re.compile(r"[\\`*_\[\]|~$]|^\s*[#+=-]")
# "1." at the start of a line begins a list.
_MARKDOWN_NUMBER = re.compile(r"^\s*(\d+)([.)])")
_LATEX = {
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{letter: "\\" + letter for letter in "{}$&#_%"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"},
    # Languages give these two a meaning of their own.
    **{'"': r"\char34{}", "`": r"\textasciigrave{}"},
    **{"-": "-{}", "−": "$-$", "±": r"$\pm$", "–": "--"},
}
# Two hyphens would become a dash.
_LATEX_LETTER = re.compile("|".join(["-(?=-)", *map(re.escape, set(_LATEX) - {"-"})]))

# OWASP, "CSV injection": characters that start a formula in a spreadsheet.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def clean_text(text: str) -> str:
    """Return one line without control characters, direction overrides and lone surrogates.

    Use it for pictures, and for pages that escape markup themselves.
    """
    text = _SURROGATES.sub("\ufffd", text)
    text = _BIDI_CONTROLS.sub("", _CONTROLS.sub("", text))
    return _BLANKS.sub(" ", text)


def shorten_words(text: str, limit: int) -> str:
    """Return the first `limit` words, with an ellipsis for the rest."""
    words = text.split()
    return text if len(words) <= limit else " ".join(words[:limit]) + " …"


def quote_bytes(start: bytes) -> str:
    """Return the first bytes of a file for a message: text in quotes, others in hexadecimal."""
    # The last character may be cut.
    text = " ".join(start.decode("utf-8", "replace").rstrip("\ufffd").split())
    if text and text.isprintable() and "\ufffd" not in text:
        return repr(text)
    return f"the bytes {start.hex(' ')}" if start else "nothing"


def escape_steering(text: str) -> str:
    r"""Return one line with control characters and direction marks as `\n`, `\x1b`, `\u202e`.

    Bytes of file names that are not UTF-8 stay as surrogates, for streams that write them back.
    """
    return _STEERING.sub(_as_escape, text)


def escape_terminal(text: str) -> str:
    r"""Return one line for a terminal: `escape_steering`, and surrogates as `\udcff`."""
    return _SURROGATES.sub(_as_escape, escape_steering(text))


def escape_terminal_lines(text: str) -> str:
    """Return a message of several lines for a terminal; each line is escaped."""
    return "\n".join(map(escape_terminal, text.split("\n")))


def escape_markup(text: str) -> str:
    """Return clean text for HTML, SVG and XML, in elements and in quoted attributes."""
    return html.escape(clean_text(text))


def escape_script_json(data: Any) -> str:
    """Return compact JSON, in ASCII, for a script or a data block of a page.

    No text in it can end the block or begin a comment.

    Raises:
        ValueError: A number is not finite.
    """
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("&", "\\u0026")


def escape_markdown(text: str) -> str:
    """Return clean text that Markdown shows literally: no HTML, links, emphasis or headings."""
    # Four leading spaces start a code block.
    shown = _MARKDOWN.sub(r"\\\g<0>", clean_text(text).strip())
    return html.escape(_MARKDOWN_NUMBER.sub(r"\1\\\2", shown), quote=False)


def escape_latex(text: str) -> str:
    """Return clean text that LaTeX sets literally, also as the first cell of a row of a table."""
    shown = _LATEX_LETTER.sub(lambda match: _LATEX[match[0]], clean_text(text).strip())
    # At the start of a row, these two would be arguments of the row before.
    return f"{{{shown[0]}}}{shown[1:]}" if shown.startswith(("[", "*")) else shown


def escape_cell(text: str) -> str:
    """Return a CSV cell that no spreadsheet runs as a formula: an apostrophe guards it."""
    text = _OTHER_SURROGATES.sub("\ufffd", text).replace("\x00", "")
    return f"'{text}" if text.lstrip("'").startswith(_FORMULA_STARTS) else text


def unescape_cell(cell: str) -> str:
    """Return the text of a cell that `escape_cell` wrote."""
    is_guarded = cell.startswith("'") and cell.lstrip("'").startswith(_FORMULA_STARTS)
    return cell[1:] if is_guarded else cell


def _as_escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")
