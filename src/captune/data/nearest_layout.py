"""What to change when no format fits: the nearest layout, and the step that leads to it."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from captune.data.images import IMAGE_SUFFIXES
from captune.data.names.split_names import parse_split
from captune.data.readers import SOURCES, read_header
from captune.data.rows.columns import CAPTION_COLUMNS, IMAGE_COLUMNS, find_captions, find_column
from captune.data.rows.text import read_head, read_json, read_jsonl
from captune.errors import DataError
from captune.storage import list_visible, name_kind
from captune.suggest import format_count

_MAX_FILES = 12
_MAX_LETTERS = 200
_ENDINGS = "|".join(suffix.removeprefix(".") for suffix in sorted(IMAGE_SUFFIXES))
# The image name extends to its ending: names may contain spaces.
_LINE = re.compile(
    rf"""(?P<quote>["']?)(?P<image>[^\s"'].*?\.(?:{_ENDINGS}))(?P=quote)"""
    r"(?P<between>\s*(?:[:|,;]|[-=~]*>|[-=–—]+)?\s+)\S",
    re.IGNORECASE,
)
_TEXTS = (".txt", ".csv", ".tsv", ".tab", ".text", ".lst", "")
_AS_CSV = (
    "save it as CSV (in a spreadsheet: CSV UTF-8) beside the images, with a column of image names"
    " and one of captions"
)
_AS_PARQUET = "write its table as Parquet or CSV (with pandas: to_parquet), beside the images"
_UNPACK = "unpack it and give the folder with the images and their captions"
_OTHER_FILES = {
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".ods", ".numbers"), ("a spreadsheet", _AS_CSV)),
    **dict.fromkeys((".gz", ".bz2", ".xz", ".zst", ".7z", ".rar", ".zip"), ("packed", _UNPACK)),
    **dict.fromkeys((".feather", ".arrow", ".pkl", ".pickle"), ("a table of Python", _AS_PARQUET)),
    **dict.fromkeys((".db", ".sqlite", ".sqlite3"), ("a data base", _AS_CSV)),
    **dict.fromkeys((".yaml", ".yml", ".xml"), ("a text file of another kind", _AS_CSV)),
}
_RECORD_KEYS = frozenset(
    (*IMAGE_COLUMNS, *CAPTION_COLUMNS, "data", "records", "rows", "items", "samples", "examples")
)
_MAX_JSON_BYTES = 2**26


def explain_unknown(place: Path) -> DataError:
    """Return an error that names what is at a place, the nearest layout, and what to change."""
    special = _find_special(place)
    if special is not None:
        return DataError(
            f"no known data set format in {place}; {special}, not a regular file",
            fix="copy its content into a file first",
        )
    unreadable = _find_unreadable(place)
    if unreadable is not None:
        return DataError(
            f"no known data set format in {place}; {unreadable.name} cannot be read: no permission",
            fix=f"make it readable: chmod u+r {unreadable}, or ask its owner",
        )
    nearest, fix = _find_nearest(place)
    return DataError(
        f"no known data set format in {place}; found {_describe(place)}{nearest}",
        where=f"tried the formats {', '.join(SOURCES)}; docs/guides/data.md describes each",
        fix=fix,
    )


def _find_special(place: Path) -> str | None:
    """Return, as in `train.parquet is a pipe`, a path that no reader opens; `None`: there is none.

    Readers look for regular files, and so do not see it.
    """
    for path in list_visible(place) if place.is_dir() else ():
        with suppress(OSError):
            kind = None if path.is_dir() else name_kind(path)
            if kind is not None:
                return f"{path.name} is {kind}"
    return None


def _find_unreadable(place: Path) -> Path | None:
    """Return the first file other than an image that this user may not read."""
    files = _list_files(place)
    for folder in list_visible(place) if place.is_dir() else ():
        # As COCO's annotations/captions_train2017.json.
        with suppress(OSError):
            files += _list_files(folder) if folder.is_dir() else []
    return next((path for path in files if not os.access(path, os.R_OK)), None)


def _find_nearest(place: Path) -> tuple[str, str]:
    """Return the nearest layout, as the end of a sentence, and what to change."""
    for path in _list_files(place):
        found = _look_into(path)
        if found is not None:
            return found
    if place.suffix.lower() == ".zip":
        return "", "unpack it and give the folder; for Hephaestus, the folder with its zips"
    inside = _find_inside(place)
    if inside is None:
        for path in _list_files(place):
            kind, fix = _OTHER_FILES.get(path.suffix.lower(), ("", ""))
            if kind:
                return f"; {path.name} is {kind}, which captune does not read", fix
    else:
        return "", f"give the folder inside it: {inside[0]} has the format {inside[1]}"
    if place.is_dir() and any(path.suffix.lower() in IMAGE_SUFFIXES for path in place.iterdir()):
        return (
            "; the nearest layout is images with a text file beside each",
            "write the captions of a.jpg into a.txt, or a captions.csv with the header"
            " image,caption; `captune caption` needs no captions",
        )
    return (
        "",
        "name the format with --format, or the columns with --image-column and --caption-column",
    )


def _look_into(path: Path) -> tuple[str, str] | None:
    head = read_head(path)
    suffix = path.suffix.lower()
    if suffix == ".json":
        return _look_into_object(path)
    if suffix not in _TEXTS:
        return None
    lines = [line for line in head.split("\n") if line.strip()][:_MAX_FILES]
    columns = read_header(head, path=path) if lines and suffix else []
    lacking = _name_lack(columns)
    if lacking is not None:
        kind, others = lacking
        return (
            f"; {path.name} resembles a table, but no column has a usual name for {kind}s",
            f"name the column of the {kind} with --{kind}-column (data.{kind}_column), one of:"
            f" {others}",
        )
    matches = [_LINE.match(line) for line in lines]
    if lines and all(matches) and matches[0] is not None:
        between = matches[0]["between"]
        kind = "a space" if not between.strip() else repr(between.strip())
        return (
            f"; {path.name} resembles a table without a header, with {kind} between the image and"
            " the caption",
            "put a tab there instead and name the file"
            f" {path.stem}.tsv: {matches[0]['image']}<TAB>caption",
        )
    return None


def _look_into_object(path: Path) -> tuple[str, str] | None:
    """Return what to change in a JSON object with records in it, by split or by column."""
    if path.stat().st_size > _MAX_JSON_BYTES:
        return None
    value = read_json(path)
    if not isinstance(value, dict) or not any(_names_records(key) for key in value):
        return None
    return (
        f"; {path.name} is an object with the keys {', '.join(value)[:_MAX_LETTERS]}",
        'write its records as a list, [{"image": "a.jpg", "caption": "a dog"}, ...] (with pandas:'
        ' to_json(orient="records")), or one per line of a .jsonl file, with one file per split',
    )


def _names_records(key: str) -> bool:
    name = key.strip().lower()
    return name in _RECORD_KEYS or parse_split(name) is not None


def _name_lack(columns: list[str]) -> tuple[str, str] | None:
    if len(columns) < 2:
        return None
    has_image = find_column(columns, None, usual=IMAGE_COLUMNS) is not None
    has_caption = bool(find_captions(columns, None))
    if has_image == has_caption:
        return None
    known = (*IMAGE_COLUMNS, *CAPTION_COLUMNS)
    others = [name for name in columns if name and name.lower() not in known]
    return ("caption" if has_image else "image"), ", ".join(others)[:_MAX_LETTERS]


def _find_inside(place: Path) -> tuple[Path, str] | None:
    """Return a subfolder that is a data set, with its format."""
    if not place.is_dir():
        return None
    folders = [path for path in sorted(place.iterdir()) if path.is_dir()][:_MAX_FILES]
    for folder in folders:
        for name, source in SOURCES.items():
            if source.find(folder) is not None:
                return folder, name
    return None


def _list_files(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    if not place.is_dir():
        return []
    paths = [path for path in list_visible(place) if path.is_file()]
    return [path for path in paths if path.suffix.lower() not in IMAGE_SUFFIXES][:_MAX_FILES]


def _describe(place: Path) -> str:
    if place.is_file():
        return f"a file of {format_count(place.stat().st_size, 'byte')}{_describe_columns(place)}"
    if not place.is_dir():
        return "a pipe or a device, which cannot be read: copy its content into a file"
    paths = sorted(place.iterdir())
    if not paths:
        return "an empty folder"
    images = sum(path.suffix.lower() in IMAGE_SUFFIXES for path in paths)
    others = [path for path in paths if path.suffix.lower() not in IMAGE_SUFFIXES]
    names = [
        path.name + "/" * path.is_dir() + _describe_columns(path) for path in others[:_MAX_FILES]
    ]
    shown = ", ".join(names) + (", ..." if len(others) > _MAX_FILES else "")
    return "; ".join(
        part for part in (f"{format_count(images, 'image')} without captions", shown) if part
    )


def _describe_columns(path: Path) -> str:
    """Return the column names of a table or a file of records; empty for other files."""
    names: list[str] = []
    if path.is_file() and path.suffix.lower() in (".csv", ".tsv"):
        names = read_header(read_head(path), path=path)
    elif path.is_file() and path.suffix.lower() == ".jsonl":
        names = list(next(read_jsonl(path), (0, {}))[1])
    return f" (columns: {', '.join(names)[:_MAX_LETTERS]})" if names else ""
