"""Read image paths and known objects from files of captions or annotations."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from captune.errors import MetricError
from captune.metrics.caption_files import read_caption_json
from captune.metrics.counting.candidates import name_ids
from captune.metrics.counting.references import check_id
from captune.suggest import format_count

OBJECT_FORMATS = (
    'give {"image_id": ["dog", ...]}, COCO instances, or JSONL with image_id and objects'
)
_NAME_KEYS = ("image", "image_path", "file_name", "filename")
# Never images, though an id may also be the name of such a file.
_OTHER = frozenset([".txt", ".json", ".jsonl", ".csv", ".tsv", ".npy", ".npz", ".md", ".zip"])


def read_image_names(path: Path | str) -> dict[str, str]:
    """Return the image paths in a file of captions.

    Args:
        path: COCO annotations (`images` with `file_name`), or JSONL whose records have one of
            `image`, `image_path`, `file_name`, `filename`.

    Returns:
        Image id -> path as written; empty if the file has none.

    Raises:
        MetricError: The file cannot be read.
    """
    content = read_caption_json(Path(path), formats="give JSON or JSONL")
    if isinstance(content, dict):
        images = content.get("images")
        rows = images if isinstance(images, list) else []
        return dict(_name_images(rows, id_key="id"))
    return dict(_name_images(content if isinstance(content, list) else [], id_key="image_id"))


def find_image_files(
    image_ids: Sequence[str], *, folder: Path | None, names: Mapping[str, str]
) -> dict[str, Path]:
    """Return the file of each image.

    The file is the one in `names`, relative to the folder or to the working directory; else the
    file in the folder, at any depth, whose name is the id, with or without an extension; else the
    one whose name ends in the id as a number (COCO_val2014_000000000042.jpg for 42).

    Args:
        image_ids: N ids.
        folder: Folder of the images; `None`: use `names` only.
        names: Image id -> path as written in a file.

    Raises:
        MetricError: The folder does not exist, or images have no file, some of which are named.
    """
    if folder is not None and not folder.is_dir():
        raise MetricError(f"{folder} is not a folder", fix="give the folder of the images")
    known = {} if folder is None else _list_images(folder)
    found = {
        image_id: path
        for image_id in image_ids
        if (path := _find_image(image_id, names.get(image_id), folder=folder, known=known))
    }
    absent = [image_id for image_id in image_ids if image_id not in found]
    if absent:
        place = f" in {folder}" if folder else ""
        raise MetricError(
            f"{format_count(len(absent), 'image has', plural='images have')} no file{place}:"
            f" {name_ids(absent)}",
            where=str(folder or ""),
            fix="name each file by its image id, or give file names in the file of references",
        )
    return found


def read_objects(path: Path | str) -> dict[str, list[str]]:
    """Return the objects that are known to be in images, such as the classes of their boxes.

    Args:
        path: `{"image_id": ["dog", ...]}`, COCO instances JSON, or JSONL of `image_id` and
            `objects`.

    Returns:
        Image id -> names of objects.

    Raises:
        MetricError: The file cannot be read, or is in none of these formats.
    """
    path = Path(path)
    content = read_caption_json(path, formats=OBJECT_FORMATS)
    rows: list[tuple[Any, Any]]
    if isinstance(content, dict) and isinstance(content.get("annotations"), list):
        rows = _read_instances(content, path)
    elif isinstance(content, dict):
        rows = [(key, value) for key, value in content.items()]
    elif isinstance(content, list):
        rows = [
            (row.get("image_id"), row.get("objects")) if isinstance(row, dict) else (None, None)
            for row in content
        ]
    else:
        rows = [(None, None)]
    objects: dict[str, list[str]] = {}
    for image_id, names in rows:
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise MetricError(
                f"the objects of image {image_id} are {names!r:.80}, not a list of names",
                where=str(path),
                fix=OBJECT_FORMATS,
            )
        objects.setdefault(check_id(image_id), []).extend(names)
    return objects


def _read_instances(content: Mapping[str, Any], path: Path) -> list[tuple[Any, Any]]:
    try:
        classes = {row["id"]: str(row["name"]) for row in content["categories"]}
        return [(row["image_id"], [classes[row["category_id"]]]) for row in content["annotations"]]
    except (KeyError, TypeError) as error:
        raise MetricError(
            f"{path} is not a file of COCO instances: {error!r}", fix=OBJECT_FORMATS
        ) from error


def _name_images(rows: Sequence[Any], *, id_key: str) -> Iterator[tuple[str, str]]:
    for row in rows:
        if isinstance(row, dict) and id_key in row:
            name = next((row[key] for key in _NAME_KEYS if isinstance(row.get(key), str)), None)
            if name is not None:
                yield check_id(row[id_key]), name


def _list_images(folder: Path) -> dict[str, Path]:
    """Return each file by its path, its name, its stem, and the number at the stem's end."""
    known: dict[str, Path] = {}
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(parent, name)
            if path.suffix.lower() in _OTHER or name.startswith("."):
                continue
            number = re.search(r"(?:^|_)0*(\d+)$", path.stem)
            relative = path.relative_to(folder).as_posix()
            keys = [relative, name, path.stem, *([f"#{number[1]}"] if number else [])]
            for key in keys:
                known.setdefault(key, path)
    return known


def _find_image(
    image_id: str, name: str | None, *, folder: Path | None, known: Mapping[str, Path]
) -> Path | None:
    if name is not None:
        places = [*([folder / name] if folder else []), Path(name)]
        found = next((place for place in places if place.is_file()), None)
        return found or known.get(Path(name).name)
    number = f"#{image_id.lstrip('0') or '0'}"
    return known.get(image_id) or known.get(number)
