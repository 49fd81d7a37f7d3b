"""COCO captions: `annotations/captions_train2017.json` beside `train2017/`.

`images` names the files, `annotations` holds the captions by `image_id`. An image's `group` is an
addition of captune.
Source: Chen et al. 2015, "Microsoft COCO Captions".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from captune.data.dataset import CHECK_DATA, LoadedData, LoadOptions
from captune.data.names.image_finder import ImageFinder, usual_folders
from captune.data.names.split_names import parse_split
from captune.data.rows.captions import read_captions
from captune.data.rows.gather import Row, gather_rows, read_name
from captune.data.rows.text import mentions, read_head, read_json
from captune.errors import DataError
from captune.records import Split

_LAYOUT = (
    'write {"images": [{"id": 1, "file_name": "a.jpg"}],'
    ' "annotations": [{"image_id": 1, "caption": "a dog"}]}'
)
_SPLIT_IN_NAME = re.compile(r"(?<![a-z])(train|val|valid|validation|dev|test)(?![a-z])")


def find_coco(place: Path) -> str | None:
    """Return the names of the caption files at `place`, or `None`."""
    files = _list_files(place)
    return ", ".join(path.name for path in files) if files else None


def read_coco(place: Path, options: LoadOptions) -> LoadedData:
    """Read one caption file, or all those of a folder, whose names give the splits.

    Raises:
        DataError: There is no caption file, or one is broken.
    """
    files = [place] if place.is_file() else _list_files(place)
    if not files:
        raise DataError(
            f"no COCO captions JSON in {place} or {place / 'annotations'}",
            fix=CHECK_DATA,
        )
    root = place if place.is_dir() else place.parent
    if root.name == "annotations":
        root = root.parent
    base = options.image_root or root
    rows = (row for path in files for row in _iter_rows(path, base=base, options=options))
    return gather_rows(rows, options, format="coco", root=root, folders=usual_folders(base))


def _list_files(place: Path) -> list[Path]:
    if place.is_file():
        return [place] if _is_captions(place) else []
    folders = [folder for folder in (place, place / "annotations") if folder.is_dir()]
    paths = [path for folder in folders for path in sorted(folder.glob("*.json"))]
    return [path for path in paths if _is_captions(path)]


def _is_captions(path: Path) -> bool:
    if path.suffix.lower() != ".json" or not path.is_file():
        return False
    head = read_head(path)
    if not head.lstrip().startswith("{"):
        return False
    # Instances and keypoints files have the same structure, but boxes instead of captions.
    if not re.search(r'"(images|annotations|info|licenses)"\s*:', head):
        return False
    if path.name.startswith("captions"):
        return True
    # COCO's files of boxes and keypoints take half a gigabyte, and several when they are parsed.
    return mentions(path, '"caption"') and _has_captions(path)


def _has_captions(path: Path) -> bool:
    try:
        value = read_json(path)
    except DataError:
        return False
    annotations = value.get("annotations")
    return (
        isinstance(value.get("images"), list)
        and isinstance(annotations, list)
        and bool(annotations)
        and isinstance(annotations[0], dict)
        and "caption" in annotations[0]
    )


def _iter_rows(path: Path, *, base: Path, options: LoadOptions) -> Iterator[Row]:
    images, annotations = _read_parts(path)
    split = _split_of(path)
    by_id: dict[str, dict[str, Any]] = {}
    shared: dict[str, dict[str, None]] = {}
    for image in images:
        first = by_id.setdefault(read_name(image["id"]), image)
        if first["file_name"] != image["file_name"]:
            names = {str(first["file_name"]): None, str(image["file_name"]): None}
            shared.setdefault(read_name(image["id"]), {}).update(names)
    captions: dict[str, list[str]] = {image_id: [] for image_id in by_id}
    for number, annotation in enumerate(annotations):
        where = f"{path}, annotation {number}"
        own = captions.setdefault(read_name(annotation["image_id"]), [])
        own += read_captions(annotation["caption"], where=where, column="caption")
    # One finder per file: train/1.jpg and val/1.jpg are two images.
    finder = ImageFinder(
        (*_image_folders(path, base=base), *usual_folders(base)),
        bounds=options.list_bounds(base),
        allow_outside=options.allow_outside,
    )
    for image_id, texts in captions.items():
        if image_id not in by_id:
            fault = ("missing", f"{path.name} has its captions, but does not list the image")
            name = image_id or "null"
            yield Row(name, tuple(texts), image_id=image_id, split=split, fault=fault)
            continue
        if image_id in shared:
            what = f"{path.name} gives {' and '.join(shared[image_id])} one id, {image_id}"
            fault = ("ambiguous", f"{what}: whose captions are whose cannot be told")
            for name in shared[image_id]:
                yield Row(name, tuple(texts), image_id=image_id, split=split, fault=fault)
            continue
        name = str(by_id[image_id]["file_name"])
        yield Row(
            name,
            tuple(texts),
            image=finder.find(name),
            image_id=image_id,
            split=split,
            group=read_name(by_id[image_id].get("group")) or None,
            columns=by_id[image_id],
            where=f"{path}, image_id {image_id}",
            finder=finder,
        )


def _read_parts(path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    value = read_json(path)
    parts = []
    for key, needed in (("images", ("id", "file_name")), ("annotations", ("image_id", "caption"))):
        part = value.get(key) if isinstance(value, dict) else None
        if not isinstance(part, list):
            raise DataError(
                f"no list of {key}: not a COCO captions file",
                where=str(path),
                fix=_LAYOUT,
            )
        for number, item in enumerate(part):
            absent = [name for name in needed if not isinstance(item, dict) or name not in item]
            if absent:
                raise DataError(
                    f"{key}[{number}] has no {absent[0]}: not a COCO captions file",
                    where=str(path),
                    fix=_LAYOUT,
                )
        parts.append(part)
    return parts[0], parts[1]


def _split_of(path: Path) -> Split | None:
    match = _SPLIT_IN_NAME.search(path.stem.lower())
    return parse_split(match[1]) if match else None


def _image_folders(path: Path, *, base: Path) -> list[Path]:
    # captions_train2017.json -> train2017/, images/train2017/
    stem = path.stem.removeprefix("captions_")
    split = _split_of(path)
    names = [stem, f"images/{stem}", *([split, f"images/{split}"] if split else [])]
    # The first one always, so that the error names it when it is missing.
    return [base / name for name in names if name == stem or (base / name).is_dir()]
