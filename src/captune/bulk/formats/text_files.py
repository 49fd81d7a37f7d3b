"""A text file beside each image: photo.jpg gets photo.txt, or photo.caption."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from captune.bulk.formats.interface import ADDING, Existing, FileChange
from captune.bulk.items import Item
from captune.errors import OutputError
from captune.storage import cannot_read, refuse_special

SidecarName = Literal["stem", "full"]
"""`stem`: photo.txt. `full`: photo.jpg.txt."""

# Bytes read to see whether a file holds text.
_SAMPLE_BYTES = 4096
_UTF8_MARK, _OTHER_MARKS = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")
_ABSENT, _PRESENT = b"\0", b"\1"


@dataclass(frozen=True, slots=True)
class TextFiles:
    """Text files with one ending.

    Attributes:
        name: `txt` or `caption`, also the ending.
        naming: How a file is named after its image.
    """

    name: Literal["txt", "caption"]
    naming: SidecarName = "stem"

    def path_for(self, item: Item) -> Path:
        """See `PerImageFormat.path_for`."""
        image = item.path
        if image is None:
            raise OutputError(
                f"{item.name} has no folder for a .{self.name} file", fix="--to jsonl or --to csv"
            )
        if self.naming == "full":
            return Path(f"{image}.{self.name}")
        return image.with_suffix(f".{self.name}")

    def has_caption(self, path: Path) -> bool:
        """See `PerImageFormat.has_caption`: white space and byte-order marks are not text."""
        refuse_special(path)
        try:
            if not path.is_file():
                return False
            with path.open("rb") as file:
                content = file.read(_SAMPLE_BYTES)
        except OSError as error:
            raise cannot_read(path, error) from error
        return _has_text(content)

    def change(self, earlier: bytes | None, caption: str, *, existing: Existing) -> FileChange:
        """See `PerImageFormat.change`: one line of UTF-8; added lines leave the others as they are.

        The new line ends with CRLF if any line of the file does, and is in UTF-16 if the file
        starts with its byte-order mark.
        """
        line = " ".join(caption.split())
        undo = _ABSENT if earlier is None else _PRESENT + earlier
        if earlier is None or not _has_text(earlier) or existing not in ADDING:
            return FileChange((line + "\n").encode("utf-8", "replace"), undo)
        mark, text = _split_mark(earlier)
        encoding = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}.get(mark, "utf-8")
        end = "\r\n".encode(encoding) if "\r\n".encode(encoding) in text else "\n".encode(encoding)
        added = line.encode(encoding, "replace")
        if existing == "prepend":
            return FileChange(mark + added + end + text, undo)
        gap = b"" if text.endswith("\n".encode(encoding)) else end
        return FileChange(mark + text + gap + added + end, undo)

    def restore(self, now: bytes, undo: bytes) -> bytes | None:  # noqa: ARG002 - the interface's
        """See `PerImageFormat.restore`."""
        return None if undo == _ABSENT else undo.removeprefix(_PRESENT)


def _split_mark(content: bytes) -> tuple[bytes, bytes]:
    """Return the byte-order mark of a text, and the rest."""
    mark = next((m for m in (_UTF8_MARK, *_OTHER_MARKS) if content.startswith(m)), b"")
    return mark, content[len(mark) :]


def _has_text(content: bytes) -> bool:
    # In UTF-16, every other byte of ASCII text is zero.
    return bool(_split_mark(content)[1].replace(b"\0", b"").strip())
