"""The folder beside a report: all scored images, which the page loads when it is asked to.

Browsers refuse to fetch files for a page that was opened from a disk, but they load scripts and
pictures. So the list of images is a script that calls one function of the page, and every picture
is a file of its own, loaded when it comes into view.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from captune.data import open_decoder
from captune.errors import ImageError, OutputError
from captune.evaluation.report.gallery.items import GalleryItem, ShownCaption
from captune.evaluation.report.gallery.thumbnails import shrink
from captune.records import CaptionRecord
from captune.storage import remove_folder, write_folder
from captune.text_safety import escape_script_json

LIST_NAME = "images.js"
_MAX_THREADS = 8
_PER_FOLDER = 1000


def beside(page: Path) -> Path:
    """Return the folder that belongs to a page: `report_files` for `report.html`."""
    return page.with_name(f"{page.stem}_files")


def write_with_rest(
    page: Path,
    write: Callable[[str], None],
    *,
    items: Sequence[GalleryItem],
    records: Sequence[CaptionRecord],
    is_needed: bool,
) -> None:
    """Write a page, and the folder beside it if it is needed; an earlier folder is replaced.

    Args:
        page: The page's file.
        write: Writes the page; called with the name of the folder, empty if there is none.
        items: All scored images.
        records: The record of each item.
        is_needed: Whether the page lacks some of the images.

    Raises:
        OutputError: The folder cannot be written, or it holds other files.
    """
    # The folder first: a page never offers images that are not there.
    if is_needed:
        _write_rest(page, items, records)
    write(beside(page).name if is_needed else "")
    if not is_needed:
        _remove_rest(page)


def _write_rest(page: Path, items: Sequence[GalleryItem], records: Sequence[CaptionRecord]) -> None:
    if not _is_ours(beside(page)):
        raise OutputError(
            f"{beside(page)} exists, and this page did not write it",
            fix="move it away: all scored images are written there",
        )

    def fill(folder: Path) -> None:
        rows = _write_pictures(folder, records)
        content = [
            describe_item(item, size=size, problem=problem)
            for item, (size, problem) in zip(items, rows, strict=True)
        ]
        script = f"captuneImages({escape_script_json(content)});\n"
        (folder / LIST_NAME).write_text(script, encoding="ascii")

    write_folder(beside(page), fill)


def _remove_rest(page: Path) -> None:
    """Remove the folder of an earlier page, whose images are of no use to a new one."""
    folder = beside(page)
    if folder.is_dir() and _is_ours(folder):
        remove_folder(folder)


def _is_ours(folder: Path) -> bool:
    """Return whether a folder may be replaced: it does not exist, is empty, or holds a list."""
    if not folder.is_dir():
        return not folder.exists()
    return (folder / LIST_NAME).is_file() or not any(folder.iterdir())


def describe_item(item: GalleryItem, *, size: tuple[int, int], problem: str) -> list[object]:
    """Return what the page's script reads: name, size, problem, references, captions, scores."""
    return [
        item.name,
        size,
        problem,
        item.references,
        item.hidden_references,
        [_describe_caption(caption) for caption in item.captions],
        _finite(item.gain),
        _finite(item.quality),
        _finite(item.similarity),
    ]


def picture_side(count: int) -> int:
    """Return the longer side of the pictures in pixels: sharp for few, small for many."""
    if count <= 500:
        return 800
    return 560 if count <= 2000 else 360


def _describe_caption(caption: ShownCaption) -> list[object]:
    marks = "".join(str(int(w.changed) + (w.changed and w.in_references)) for w in caption.words)
    mistakes = [[mistake.kind, mistake.text] for mistake in caption.mistakes]
    text = [word.text for word in caption.words]
    return [text, marks, _finite(caption.score), mistakes, caption.length]


def _finite(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


def _write_pictures(
    folder: Path, records: Sequence[CaptionRecord]
) -> list[tuple[tuple[int, int], str]]:
    """Write one JPEG per image; return size and problem of each."""
    side = picture_side(len(records))
    for place in range(0, len(records), _PER_FOLDER):
        (folder / str(place // _PER_FOLDER)).mkdir()

    def write(numbered: tuple[int, CaptionRecord]) -> tuple[tuple[int, int], str]:
        place, record = numbered
        try:
            data, size = decoder.decode(record.image, partial(shrink, side=side))
        except ImageError as error:
            return (4, 3), error.what
        (folder / str(place // _PER_FOLDER) / f"{place}.jpg").write_bytes(data)
        return size, ""

    # Decoding and encoding release the interpreter's lock; the decoder's slots limit their memory.
    with (
        open_decoder("inline", smallest=(side, side)) as decoder,
        ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1)) as pool,
    ):
        return list(pool.map(write, enumerate(records)))
