"""Hephaestus: radar interferograms of volcanoes, described by experts.

Annotations are one JSON file per image (`uniqueID`, `frameID`, dates, flags, `caption`), in
`annotations.zip` or a folder. Images are `<uniqueID>.png` in `images.zip`, in
`images_set1.zip` ... `images_set4.zip`, or in a folder; or in the layout of the authors' archive,
`<frameID>/interferograms/<d1>_<d2>/<d1>_<d2>.geo.diff.png`. Zips are read in place. Images of one
frame show one piece of land, so `group` is the frame, by which the authors split too.
Source: Bountos et al. 2022, "Hephaestus: A large scale multitask dataset towards InSAR
understanding"; github.com/Orion-AI-Lab/Hephaestus.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from captune.data.archives.archive import list_zip, read_zip_text, require_no_inner_zip
from captune.data.dataset import LoadedData, LoadOptions, SkippedImage
from captune.data.images import IMAGE_SUFFIXES, image_hash
from captune.data.readers.sidecar import walk_images
from captune.data.rows.captions import read_captions
from captune.data.rows.gather import Row, gather_rows
from captune.data.rows.text import parse_json, read_head, read_json
from captune.errors import DataError, ImageError
from captune.records import ImageSource, ZipMember

_ANNOTATION_ZIP = re.compile(r"^annotations?(_hephaestus)?(_?set\d+)?\.zip$", re.IGNORECASE)
_IMAGE_ZIP = re.compile(r"^images(_?set)?_?\d*\.zip$", re.IGNORECASE)
_ANNOTATION_FOLDER = re.compile(r"^annotations?(_hephaestus)?$", re.IGNORECASE)
_KEYS = re.compile(r'"(uniqueID|frameID)"\s*:')
_DIFF = ".geo.diff.png"
_RAW = "interferograms"
# JSON files inspected to decide whether a folder is of this format.
_PROBED = 20

_Index = dict[str, list[tuple[str, ImageSource]]]
"""Key of an image (a `uniqueID`, or frame and dates) -> its names and sources."""


def find_hephaestus(place: Path) -> str | None:
    """Return the names of the annotations at a place; `None` when none are of this kind."""
    if not place.is_dir():
        return None
    zips = _list_zips(place, _ANNOTATION_ZIP)
    has_images = zips and (_list_zips(place, _IMAGE_ZIP) or any(walk_images(place)))
    if has_images and all(_holds_annotations(path) for path in zips):
        return ", ".join(path.name for path in zips)
    folder = _find_folder(place)
    return None if folder is None else f"{folder.name}/*.json with uniqueID and frameID"


def read_hephaestus(place: Path, options: LoadOptions) -> LoadedData:
    """Read annotations and the images beside them; an image without an annotation is listed.

    Raises:
        DataError: There are no annotations, one is broken, or an archive is truncated, a Git LFS
            pointer, or holds names that lead out of it.
    """
    root = options.image_root or place
    notes: list[str] = []
    index = _index_images(root, notes=notes)
    used: set[str] = set()
    rows = _iter_rows(place, index, used=used, looked=_describe(root))
    data = gather_rows(rows, options, format="hephaestus", root=place, notes=notes)
    if options.limit is not None:
        return data
    unlisted = [
        SkippedImage(name, name, "no_caption", "an image without an annotation")
        for key, places in index.items()
        if key not in used
        for name, _ in places
    ]
    return replace(data, skipped=(*data.skipped, *unlisted))


def _holds_annotations(path: Path) -> bool:
    """Return whether a zip holds annotations of this kind; `True` if it cannot be read."""
    try:
        names = list_zip(path)
    except DataError:
        return True
    texts = [name for name in names if name.lower().endswith(".json")][:_PROBED]
    try:
        found = any(
            _KEYS.search(read_zip_text(path, name)[:65_536].decode("utf-8", "replace"))
            for name in texts
        )
    except DataError:
        return False
    return found or (not texts and any(name.lower().endswith(".zip") for name in names))


def _list_zips(place: Path, name: re.Pattern[str]) -> list[Path]:
    return sorted(path for path in place.glob("*.zip") if name.match(path.name))


def _find_folder(place: Path) -> Path | None:
    """Return the folder with the annotations: one with such a name, else the place itself."""
    named = [path for path in place.iterdir() if _ANNOTATION_FOLDER.match(path.name)]
    for folder in (*sorted(path for path in named if path.is_dir()), place):
        probed = sorted(folder.rglob("*.json") if folder != place else folder.glob("*.json"))
        if any(_KEYS.search(read_head(path)) for path in probed[:_PROBED]):
            return folder
    return None


def _iter_rows(place: Path, index: _Index, *, used: set[str], looked: str) -> Iterator[Row]:
    found = False
    for where, content in _iter_annotations(place):
        for value in content if isinstance(content, list) else [content]:
            if not isinstance(value, dict) or "uniqueID" not in value:
                # Statistics and other JSON may be beside the annotations.
                continue
            found = True
            yield _make_row(value, index, used=used, context=(where, looked))
    if not found:
        raise DataError(
            f"no annotation with a uniqueID in {place}",
            fix="give a folder with annotations.zip or annotations/, with one JSON per image",
        )


def _make_row(
    value: dict[str, Any], index: _Index, *, used: set[str], context: tuple[str, str]
) -> Row:
    where, looked = context
    image_id, frame = str(value["uniqueID"]), value.get("frameID")
    dates = f"{value.get('primary_date')}_{value.get('secondary_date')}"
    keys = [key for key in (image_id, f"{frame}/{dates}") if key in index]
    used.update(keys)
    places = index[keys[0]] if keys else []
    fault = None
    if not places:
        fault = ("missing", looked)
    elif len(places) > 1 and not _all_equal([source for _, source in places]):
        names = " and ".join(name for name, _ in places[:2])
        fault = ("ambiguous", f"different images with one name: {names}")
    found = PurePosixPath(places[0][0] if places else f"{image_id}.png")
    return Row(
        # Show frame and dates, not the archive or folder.
        name=str(PurePosixPath(*found.parts[-4:])) if _RAW in found.parts else found.name,
        captions=read_captions(value.get("caption"), where=where, column="caption"),
        image=places[0][1] if places and fault is None else None,
        image_id=image_id,
        group=str(frame) if frame is not None else None,
        columns=value,
        where=where,
        fault=fault,
    )


def _iter_annotations(place: Path) -> Iterator[tuple[str, Any]]:
    zips = _list_zips(place, _ANNOTATION_ZIP)
    for path in zips:
        names = [name for name in list_zip(path) if name.lower().endswith(".json")]
        if not names:
            require_no_inner_zip(path, list_zip(path), wanted="annotations")
        for name in names:
            where = f"{path}:{name}"
            yield where, _parse(read_zip_text(path, name), where=where)
    folder = None if zips else _find_folder(place)
    if folder is not None:
        for path in sorted(folder.rglob("*.json") if folder != place else folder.glob("*.json")):
            yield str(path), read_json(path)


def _parse(content: bytes, *, where: str) -> Any:
    return parse_json(content.decode("utf-8-sig", "replace"), where=where)


def _index_images(root: Path, *, notes: list[str]) -> _Index:
    index: _Index = {}
    for path in _list_zips(root, _IMAGE_ZIP):
        names = list_zip(path)
        images = [name for name in names if _key_of(PurePosixPath(name)) is not None]
        if not images:
            require_no_inner_zip(path, names, wanted="images")
        for name in images:
            _add(index, PurePosixPath(name), (f"{path.name}/{name}", ZipMember(path, name)))
    for file in walk_images(root, notes=notes):
        relative = PurePosixPath(file.relative_to(root).as_posix())
        _add(index, relative, (str(relative), file))
    return index


def _add(index: _Index, name: PurePosixPath, place: tuple[str, ImageSource]) -> None:
    key = _key_of(name)
    if key is not None:
        index.setdefault(key, []).append(place)


def _key_of(name: PurePosixPath) -> str | None:
    """Return an image's key: frame and dates in the authors' folders, else its `uniqueID`."""
    parts = name.parts
    if _RAW in parts[:-1]:
        # The coherence and phase images beside the interferogram have no captions.
        is_diff = len(parts) >= 4 and parts[-3] == _RAW and parts[-1] == parts[-2] + _DIFF
        return f"{parts[-4]}/{parts[-2]}" if is_diff else None
    return name.stem if name.suffix.lower() in IMAGE_SUFFIXES else None


def _all_equal(sources: list[ImageSource]) -> bool:
    try:
        return len({image_hash(source) for source in sources}) == 1
    except ImageError:
        return False


def _describe(root: Path) -> str:
    zips = [str(path) for path in _list_zips(root, _IMAGE_ZIP)]
    return "looked in " + ", ".join([*zips, f"{root} and its folders"])
