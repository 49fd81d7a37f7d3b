"""Captions as XMP: in a sidecar beside each image, or inside JPEG, PNG and WebP files.

Both hold the caption as `dc:description`, which photo managers show, and as
`Iptc4xmpCore:AltTextAccessibility`, which screen readers read. All else in a file is kept.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from captune.bulk.formats.interface import ADDING, Existing, FileChange
from captune.bulk.formats.text_files import SidecarName
from captune.bulk.items import Item
from captune.bulk.metadata import (
    FileView,
    Texts,
    apply_splices,
    edit_embedded,
    edit_sidecar,
    read_embedded,
    read_sidecar,
    restore,
    undo_bytes,
)
from captune.errors import ImageError, OutputError
from captune.storage import cannot_read, refuse_special

_ABSENT, _PRESENT = b"\0", b"\1"
_MAX_SIDECAR = 16_000_000


@dataclass(frozen=True, slots=True)
class XmpFiles:
    """An XMP file beside each image; one by another program is edited, not replaced.

    Attributes:
        naming: `stem`: photo.xmp, as Lightroom names it. `full`: photo.jpg.xmp, as darktable does.
    """

    naming: SidecarName = "stem"

    @property
    def name(self) -> str:
        """See `PerImageFormat.name`."""
        return "xmp"

    def path_for(self, item: Item) -> Path:
        """See `PerImageFormat.path_for`."""
        path = _path_of(item, "an .xmp file")
        return Path(f"{path}.xmp") if self.naming == "full" else path.with_suffix(".xmp")

    def has_caption(self, path: Path) -> bool:
        """See `PerImageFormat.has_caption`; a damaged file counts as none, and is refused later."""
        content = _read_start(path, _MAX_SIDECAR)
        return content is not None and _has_description(lambda: read_sidecar(content))

    def change(self, earlier: bytes | None, caption: str, *, existing: Existing) -> FileChange:
        """See `PerImageFormat.change`."""
        now = read_sidecar(earlier) if earlier else Texts()
        splices = edit_sidecar(earlier, _merge(now, caption, existing=existing))
        content = earlier or b""
        undo = _ABSENT if earlier is None else _PRESENT + undo_bytes(content, splices)
        return FileChange(apply_splices(content, splices), undo)

    def restore(self, now: bytes, undo: bytes) -> bytes | None:
        """See `PerImageFormat.restore`."""
        return None if undo == _ABSENT else restore(now, undo.removeprefix(_PRESENT))


@dataclass(frozen=True, slots=True)
class EmbeddedMetadata:
    """The image file itself, whose pixels and other metadata stay byte for byte."""

    @property
    def name(self) -> str:
        """See `PerImageFormat.name`."""
        return "metadata"

    @property
    def fallback(self) -> XmpFiles:
        """The format for images that raise `embed_unsupported`.

        Its files are named after the image's full name, so that no two images share one.
        """
        return XmpFiles("full")

    def path_for(self, item: Item) -> Path:
        """See `PerImageFormat.path_for`."""
        return _path_of(item, "metadata")

    def has_caption(self, path: Path) -> bool:
        """See `PerImageFormat.has_caption`; reads only headers, then the fallback's file."""
        refuse_special(path)
        try:
            with path.open("rb") as file:
                view = FileView(file)
                if _has_description(lambda: read_embedded(view)):
                    return True
        except FileNotFoundError:
            return False
        except OSError as error:
            raise cannot_read(path, error) from error
        return self.fallback.has_caption(Path(f"{path}.xmp"))

    def change(self, earlier: bytes | None, caption: str, *, existing: Existing) -> FileChange:
        """See `PerImageFormat.change`."""
        if earlier is None:
            raise ImageError("io", where="the image no longer exists")
        splices = edit_embedded(earlier, _merge(read_embedded(earlier), caption, existing=existing))
        undo = _PRESENT + undo_bytes(earlier, splices)
        return FileChange(apply_splices(earlier, splices), undo)

    def restore(self, now: bytes, undo: bytes) -> bytes | None:
        """See `PerImageFormat.restore`; it also restores the fallback's file."""
        return self.fallback.restore(now, undo)


def _merge(now: Texts, caption: str, *, existing: Existing) -> Texts:
    """Return the texts to write; an existing alternative text is kept unless overwritten."""
    if existing in ADDING:
        joined = [
            separator.join((old, caption) if existing == "append" else (caption, old))
            if old and old.strip()
            else caption
            for old, separator in ((now.description, "\n"), (now.alt_text, " "))
        ]
        return Texts(*joined)
    keeps = existing != "overwrite" and bool(now.alt_text and now.alt_text.strip())
    return Texts(caption, None if keeps else caption)


def _has_description(read: Callable[[], Texts]) -> bool:
    try:
        text = read().description
    except ImageError:
        return False
    return bool(text and text.strip())


def _path_of(item: Item, what: str) -> Path:
    path = item.path
    if path is None:
        raise OutputError(
            f"{item.name} has no file on disk for {what}", fix="--to jsonl or --to csv"
        )
    return path


def _read_start(path: Path, limit: int) -> bytes | None:
    refuse_special(path)
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return None
        raise cannot_read(path, error) from error
