"""The encoding of a text file, from its byte order mark.

Windows PowerShell writes UTF-16 when a command's output goes to a file, and spreadsheets write
UTF-8 with a mark, which plain UTF-8 would read as a letter.
"""

from __future__ import annotations

import codecs
from pathlib import Path

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    # That of UTF-32 begins with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def find_encoding(content: bytes) -> str:
    """Return Python's name of the encoding of a text that begins so; `utf-8` without a mark."""
    return next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")


def read_marked_text(path: Path) -> str:
    """Return the text of a file in UTF-8, or in UTF-16 or UTF-32 with a mark; lines end with LF.

    Raises:
        OSError: It cannot be read.
        UnicodeDecodeError: It has another encoding.
    """
    with path.open("rb") as file:
        encoding = find_encoding(file.read(4))
    return path.read_text(encoding=encoding)
