"""Flickr8k and Flickr30k in their two usual forms: the Kaggle copy and the original token file.

Kaggle's copy is `captions.txt`, a real CSV, and `Images/`. The original is
`Flickr8k.token.txt` (`image.jpg#0<TAB>caption`; captions contain '#' too, and one id has no
image). The standard lists beside them (`Flickr_8k.trainImages.txt`, ...) give the splits.
Source: Hodosh, Young and Hockenmaier 2013; Young et al. 2014.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from captune.data.dataset import CHECK_DATA, LoadedData, LoadOptions
from captune.data.names.image_finder import usual_folders
from captune.data.names.split_lists import assign_lists
from captune.data.names.split_names import parse_split
from captune.data.readers.csv_table import is_table, iter_table_rows
from captune.data.rows.gather import Row, gather_rows
from captune.data.rows.text import read_head, read_text
from captune.errors import DataError
from captune.records import Split
from captune.storage import list_visible

_CSV_NAMES = ("captions.txt", "captions.csv", "results.csv")
_TEXT_FOLDERS = (".", "Flickr8k_text", "flickr30k", "text")
_TOKEN_LINE = re.compile(r"^(?P<image>[^\t]+?)#(?P<number>\d+)\s*\t(?P<caption>.*)$")
_LIST_NAME = re.compile(
    r"^flickr_?\d+k[._-](?P<split>train|dev|val|test)(images)?\.txt$", re.IGNORECASE
)


def find_flickr(place: Path) -> str | None:
    """Return the name of the caption file that makes `place` a Flickr set, or `None`."""
    captions = _find_captions(place)
    return captions.name if captions else None


def read_flickr(place: Path, options: LoadOptions) -> LoadedData:
    """Read the Kaggle copy or the original token file, with the standard lists as splits.

    Raises:
        DataError: There is no caption file, or a line of it is broken.
    """
    captions = _find_captions(place)
    if captions is None:
        raise DataError(
            f"no Flickr caption file in {place}: looked for {', '.join(_CSV_NAMES)}"
            " and a .token file",
            fix=CHECK_DATA,
        )
    root = place if place.is_dir() else place.parent
    notes: list[str] = []
    if _is_token_file(captions):
        rows = _iter_token_rows(captions, notes=notes)
    else:
        rows = iter_table_rows(captions, options=options, notes=notes)
    folders = (
        (options.image_root, *usual_folders(options.image_root))
        if options.image_root
        else (
            *usual_folders(root),
            *usual_folders(captions.parent),
            *usual_folders(root.parent)[1:],
        )
    )
    # Read everything: the limit applies once the splits are known.
    everything = replace(options, limit=None)
    data = gather_rows(rows, everything, format="flickr", root=root, folders=folders, notes=notes)
    lists = {} if options.split_files else _find_lists(captions.parent)
    if lists:
        data = assign_lists(data, lists=lists)
    return replace(data, records=data.records[: options.limit])


def _find_captions(place: Path) -> Path | None:
    if place.is_file():
        named = place.name in _CSV_NAMES and len(usual_folders(place.parent)) > 1
        return place if (named and is_table(place)) or _is_token_file(place) else None
    for folder in (place / name for name in _TEXT_FOLDERS):
        if not folder.is_dir():
            continue
        has_images = len(usual_folders(folder)) > 1 or len(usual_folders(place)) > 1
        for name in _CSV_NAMES:
            if has_images and is_table(folder / name):
                return folder / name
        for path in sorted([*folder.glob("*.token.txt"), *folder.glob("*.token")]):
            if _is_token_file(path):
                return path
    return None


def _is_token_file(path: Path) -> bool:
    if not path.is_file():
        return False
    first = read_head(path, size=4096).split("\n", 1)[0]
    return _TOKEN_LINE.match(first) is not None


def _iter_token_rows(path: Path, *, notes: list[str]) -> Iterator[Row]:
    for number, line in enumerate(read_text(path, notes=notes).split("\n"), start=1):
        if not line.strip():
            continue
        match = _TOKEN_LINE.match(line)
        if match is None:
            raise DataError(
                f"not `image#number<TAB>caption`: {line[:60]!r}",
                where=f"{path}, line {number}",
                fix="write lines such as: a.jpg#0, a tab, the caption",
            )
        yield Row(name=match["image"], captions=(match["caption"],), where=f"{path}, line {number}")


def _find_lists(folder: Path) -> dict[Split, Path]:
    lists: dict[Split, Path] = {}
    for path in list_visible(folder):
        match = _LIST_NAME.match(path.name)
        split = parse_split(match["split"]) if match else None
        if split is not None:
            lists[split] = path
    return lists
