"""Karpathy's splits: `dataset_coco.json`, `dataset_flickr8k.json`, `dataset_flickr30k.json`.

COCO captioning results are reported on these splits: 113,287 training images (train and restval),
5,000 for validation, 5,000 for testing. Images are in `filepath` (`train2014/`, `val2014/`) for
COCO, and in one folder for Flickr.
Source: Karpathy and Fei-Fei 2015, "Deep Visual-Semantic Alignments for Generating Image
Descriptions".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from captune.data.dataset import CHECK_DATA, LoadedData, LoadOptions
from captune.data.names.image_finder import ImageFinder, usual_folders
from captune.data.names.safe_names import is_unsafe_name
from captune.data.names.split_names import parse_split
from captune.data.rows.captions import read_captions
from captune.data.rows.gather import Row, gather_rows, read_name
from captune.data.rows.text import read_head, read_json
from captune.errors import DataError
from captune.suggest import format_count

_NEEDED = ("filename", "split", "sentences")
_FOLDERS = (".", "annotations", "karpathy", "caption_datasets")
_NAME = re.compile(r"^dataset_(coco|flickr_?\d+k)\w*\.json$", re.IGNORECASE)
_KEYS = re.compile(r'"(sentences|sentids)"\s*:')
# Images checked to decide which of several files belongs to the images at hand.
_PROBED = 20


def find_karpathy(place: Path) -> str | None:
    """Return the names of the split files at `place`, or `None`."""
    files = _list_files(place)
    return ", ".join(path.name for path in files) if files else None


def read_karpathy(place: Path, options: LoadOptions) -> LoadedData:
    """Read a split file; restval is training data.

    Raises:
        DataError: There is no such file, there are several, or one is broken.
    """
    files = _list_files(place) if place.is_dir() else [place]
    if not files:
        raise DataError(
            f"no dataset_coco.json, or another of Karpathy's files, in {place}",
            fix=CHECK_DATA,
        )
    notes: list[str] = []
    images = _read_images(files[0]) if len(files) == 1 else []
    path = files[0] if len(files) == 1 else _choose_file(files, options, notes=notes)
    images = images or _read_images(path)
    restval = sum(image["split"] == "restval" for image in images)
    if restval:
        notes.append(
            f"{format_count(restval, 'restval image is', plural='restval images are')} used for"
            " training, as usual"
        )
    base = _image_base(path, options)
    return gather_rows(
        _iter_rows(images, path=path, base=base, options=options),
        options,
        format="karpathy",
        root=place if place.is_dir() else base,
        folders=usual_folders(base),
        notes=notes,
    )


def _list_files(place: Path) -> list[Path]:
    if place.is_file():
        return [place] if _is_karpathy(place) else []
    folders = [place / name for name in _FOLDERS]
    paths = [path for folder in folders for path in sorted(folder.glob("*.json"))]
    return [path for path in paths if _is_karpathy(path)]


def _is_karpathy(path: Path) -> bool:
    if path.suffix.lower() != ".json" or not path.is_file():
        return False
    if _NAME.match(path.name):
        return True
    head = read_head(path)
    return head.lstrip().startswith("{") and '"images"' in head and _KEYS.search(head) is not None


def _choose_file(files: list[Path], options: LoadOptions, *, notes: list[str]) -> Path:
    """Return the file whose images are present: all three files come in one zip."""
    fitting = []
    for path in files:
        rows = _iter_rows(
            _read_images(path)[:_PROBED],
            path=path,
            base=_image_base(path, options),
            options=options,
        )
        if any(row.image is not None for row in rows):
            fitting.append(path)
    if len(fitting) != 1:
        raise DataError(
            f"{files[0].parent} has {len(files)} of Karpathy's files"
            f" ({', '.join(path.name for path in files)}) and the images of"
            f" {len(fitting) or 'none'} of them",
            fix="give the file itself, and its image folder: data.image_root, or --image-root",
        )
    notes.append(f"{fitting[0].name} was read: the images of the other files are missing")
    return fitting[0]


def _read_images(path: Path) -> list[dict[str, Any]]:
    value = read_json(path)
    images = value.get("images") if isinstance(value, dict) else None
    if not isinstance(images, list):
        raise DataError(
            "no list of images: not one of Karpathy's files",
            where=str(path),
            fix=CHECK_DATA,
        )
    for number, image in enumerate(images):
        absent = [key for key in _NEEDED if not isinstance(image, dict) or key not in image]
        if absent:
            raise DataError(
                f"images[{number}] has no {absent[0]}",
                where=str(path),
                fix="fetch the file again; every image has filename, split and sentences",
            )
        if parse_split(str(image["split"])) is None:
            raise DataError(
                f"images[{number}] has the split {image['split']!r}",
                where=str(path),
                fix="one of: train, restval, val, test",
            )
    return images


def _image_base(path: Path, options: LoadOptions) -> Path:
    if options.image_root is not None:
        return options.image_root
    return path.parent.parent if path.parent.name in _FOLDERS else path.parent


def _iter_rows(
    images: list[dict[str, Any]], *, path: Path, base: Path, options: LoadOptions
) -> Iterator[Row]:
    finders: dict[str, ImageFinder] = {}
    for number, image in enumerate(images):
        folder, name = str(image.get("filepath") or ""), str(image["filename"])
        finder = finders.get(folder)
        if finder is None:
            finder = finders[folder] = ImageFinder(
                _list_folders(base, folder),
                bounds=options.list_bounds(base),
                allow_outside=options.allow_outside,
            )
        whole = f"{folder}/{name}" if folder else name
        where = f"{path}, image {number}"
        yield Row(
            name=whole,
            captions=read_captions(image["sentences"], where=where),
            image=finder.find(whole if is_unsafe_name(folder) else name),
            image_id=read_name(image.get("cocoid")),
            split=parse_split(str(image["split"])),
            columns=image,
            where=where,
            finder=finder,
        )


def _list_folders(base: Path, folder: str) -> list[Path]:
    if not folder or is_unsafe_name(folder):
        return list(usual_folders(base))
    # Graphical tools unpack into a folder of the same name: train2014/train2014.
    inside = [base / "images" / folder, base / folder / folder]
    return [base / folder, *(path for path in inside if path.is_dir()), *usual_folders(base)]
