"""References and predictions from files: COCO JSON, dictionaries, and JSONL.

Ids become text, so 42 and "42" are the same image; a duplicate id is an error, never an overwrite.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from captune.caption_cells import NotTextError, read_list_cell
from captune.errors import CHECK_PATH, MetricError
from captune.metrics.counting.candidates import name_ids
from captune.metrics.counting.references import check_caption, check_id
from captune.storage import read_marked_text, refuse_irregular
from captune.suggest import format_count

REFERENCE_FORMATS = (
    'give {"image_id": ["caption", ...]}, COCO annotations, or JSONL with image_id and captions'
)
PREDICTION_FORMATS = (
    'give {"image_id": "caption"}, COCO results, or JSONL with image_id and caption'
)

SAMPLE_FORMATS = (
    'give {"image_id": ["caption", ...]}, or COCO results or JSONL with several captions per image'
)

_Kind = Literal["references", "samples"]


class _DuplicateKeyError(ValueError):
    """A JSON object with a duplicate key; `json` would silently keep the last value."""


def read_references(path: Path | str, *, notes: list[str] | None = None) -> dict[str, list[str]]:
    """Read human captions.

    Args:
        path: `{"image_id": ["caption", ...]}`, COCO annotations JSON, or a list or JSONL of records
            with `image_id` and either `captions` or one `caption`.
        notes: Receives a sentence if texts that contain a Python list are read as lists.

    Returns:
        Image id -> captions, in the order of the file (for COCO, that of its list of images, as in
        pycocotools).

    Raises:
        MetricError: The file cannot be read, is in none of these formats, or has a duplicate
            image or an image without a caption.
    """
    path = Path(path)
    content = read_caption_json(path, formats=REFERENCE_FORMATS)
    with naming_file(path):
        if isinstance(content, dict) and isinstance(content.get("annotations"), list):
            references = _group_coco(content, path)
        else:
            references = _read_lists(content, path, kind="references")
        for image_id, captions in references.items():
            _check_list(captions, image_id, path=path, kind="references")
    return _open_lists(references, path, notes=notes)


def read_samples(path: Path | str) -> dict[str, list[str]]:
    """Read several captions per image by one model.

    Args:
        path: `{"image_id": ["caption", ...]}`, or COCO results JSON or JSONL in which an image
            occurs several times, or JSONL with `image_id` and `captions`.

    Returns:
        Image id -> captions, in the order of the file.

    Raises:
        MetricError: The file cannot be read, is in none of these formats, or has a caption that is
            not text.
    """
    path = Path(path)
    content = read_caption_json(path, formats=SAMPLE_FORMATS)
    with naming_file(path):
        samples = _read_lists(content, path, kind="samples")
        for image_id, captions in samples.items():
            _check_list(captions, image_id, path=path, kind="samples")
            for caption in captions:
                check_caption(caption, image_id=image_id, kind="sample")
    return samples


def read_predicted_captions(path: Path | str) -> dict[str, str]:
    """Read one caption per image; a text that contains a Python list of one is that caption.

    Args:
        path: `{"image_id": "caption"}`, COCO results JSON (a list of `image_id` and `caption`), or
            the same as JSONL.

    Returns:
        Image id -> caption, in the order of the file.

    Raises:
        MetricError: The file cannot be read, is in none of these formats, or has a duplicate image.
    """
    path = Path(path)
    content = read_caption_json(path, formats=PREDICTION_FORMATS)
    if isinstance(content, dict):
        rows = [(check_id(key), _single(value)) for key, value in content.items()]
    elif isinstance(content, list):
        rows = [
            (
                _id_of(r, path, number=number),
                _single(_field(r, "caption", path=path, number=number)),
            )
            for number, r in enumerate(content, 1)
        ]
    else:
        raise _wrong_format(path, content, formats=PREDICTION_FORMATS)
    _refuse_duplicates([image_id for image_id, _ in rows], path)
    with naming_file(path):
        return {
            image_id: check_caption(caption, image_id=image_id, kind="prediction")
            for image_id, caption in rows
        }


@contextmanager
def naming_file(path: Path) -> Iterator[None]:
    """Add the file's name to errors about captions and ids, as several files may be read.

    Raises:
        MetricError: The error raised inside, with the file added.
    """
    try:
        yield
    except MetricError as error:
        if str(path) in error.where:
            raise
        where = ", ".join(part for part in (str(path), error.where) if part)
        raise MetricError(error.what, where=where, fix=error.fix) from error


def read_caption_json(path: Path, *, formats: str) -> Any:
    """Return the file's JSON value; JSON Lines become a list.

    Args:
        path: UTF-8 file, or UTF-16 with a byte order mark.
        formats: Accepted formats, for the `fix` of errors.

    Raises:
        MetricError: The file cannot be read, is not JSON, or has a duplicate key.
    """
    text = _read_text(path, formats=formats)
    try:
        if path.suffix.lower() in {".jsonl", ".ndjson"}:
            return _read_lines(text, path, formats=formats)
        try:
            return _parse(text)
        except json.JSONDecodeError as error:
            if error.msg != "Extra data":
                raise
            return _read_lines(text, path, formats=formats)
    except json.JSONDecodeError as error:
        raise MetricError(
            f"{path} is not JSON: {error.msg}", where=f"{path}:{error.lineno}", fix=formats
        ) from error
    except _DuplicateKeyError as error:
        raise MetricError(
            f"{path} has {error} twice", where=str(path), fix="give each image once"
        ) from error
    except ValueError as error:
        raise _large_number(path, where=str(path)) from error
    except RecursionError as error:
        raise MetricError(f"{path} is nested too deeply", fix=formats) from error


def _read_text(path: Path, *, formats: str) -> str:
    try:
        refuse_irregular(path, MetricError, fix=formats)
        return read_marked_text(path)
    except OSError as error:
        raise MetricError(f"{path} cannot be read: {error.strerror}", fix=CHECK_PATH) from error
    except UnicodeDecodeError as error:
        raise MetricError(
            f"{path} is not UTF-8 at byte {error.start}", fix="convert it to UTF-8"
        ) from error


def _read_lines(text: str, path: Path, *, formats: str) -> list[Any]:
    rows = []
    # Not splitlines: U+2028 and similar characters may be unescaped inside a JSON string.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            rows.append(_parse(line))
        except json.JSONDecodeError as error:
            raise MetricError(
                f"line {number} of {path} is not JSON: {error.msg}",
                where=f"{path}:{number}",
                fix=formats,
            ) from error
        except _DuplicateKeyError:
            raise
        except ValueError as error:
            raise _large_number(path, where=f"{path}:{number}") from error
    return rows


def _large_number(path: Path, *, where: str) -> MetricError:
    # Python refuses whole numbers of more than 4,300 digits.
    return MetricError(
        f"{path} contains a number with too many digits",
        where=where,
        fix="write it as text, in quotes",
    )


def _parse(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_refuse_duplicate_keys)


def _refuse_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        seen: set[str] = set()
        duplicate = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _DuplicateKeyError(duplicate)
    return content


def _group_coco(content: dict[str, Any], path: Path) -> dict[str, list[str]]:
    """Return captions by image in the order of pycocotools: of images, then of annotations."""
    images = content.get("images") or []
    if not isinstance(images, list):
        raise _wrong_format(path, images, formats=REFERENCE_FORMATS)
    listed = [_field(image, "id", path=path, number=n) for n, image in enumerate(images, 1)]
    _refuse_duplicates([check_id(image_id) for image_id in listed], path)
    grouped: dict[str, list[str]] = {check_id(image_id): [] for image_id in listed}
    for number, annotation in enumerate(content["annotations"], 1):
        image_id = _id_of(annotation, path, number=number)
        if listed and image_id not in grouped:
            raise MetricError(
                f"annotation {number} is for image {image_id}, which is not in the list of images",
                where=str(path),
                fix="add the image, or remove the annotation",
            )
        caption = _field(annotation, "caption", path=path, number=number)
        grouped.setdefault(image_id, []).append(
            check_caption(caption, image_id=image_id, kind="reference")
        )
    return grouped


def _read_lists(content: Any, path: Path, *, kind: _Kind) -> dict[str, list[str]]:
    """Return captions by image from a dictionary or from records."""
    if isinstance(content, dict):
        return {
            check_id(key): [value] if isinstance(value, str) else value
            for key, value in content.items()
        }
    if isinstance(content, list):
        return _group_records(content, path, kind=kind)
    formats = REFERENCE_FORMATS if kind == "references" else SAMPLE_FORMATS
    raise _wrong_format(path, content, formats=formats)


def _group_records(records: Iterable[Any], path: Path, *, kind: _Kind) -> dict[str, list[str]]:
    """Return captions by image; single captions are collected, lists must be one per image."""
    grouped: dict[str, list[str]] = {}
    listed: list[str] = []
    for number, record in enumerate(records, 1):
        image_id = _id_of(record, path, number=number)
        if "captions" in record:
            listed.append(image_id)
            captions = record["captions"]
            _check_list(captions, image_id, path=path, kind=kind)
        else:
            captions = [_field(record, "caption", path=path, number=number)]
        grouped.setdefault(image_id, []).extend(captions)
    _refuse_duplicates(listed, path)
    return grouped


def _check_list(captions: object, image_id: str, *, path: Path, kind: _Kind) -> None:
    if not isinstance(captions, list) or not captions:
        raise MetricError(
            f"the {kind} of image {image_id} are {reprlib.repr(captions)}, not a list of captions",
            where=f"{path}, image_id {image_id}",
            fix="give it at least one caption, or remove the image",
        )


def _id_of(record: Any, path: Path, *, number: int) -> str:
    image_id = _field(record, "image_id", path=path, number=number)
    try:
        return check_id(image_id)
    except MetricError as error:
        where = f"{path}, record {number}"
        raise MetricError(error.what, where=where, fix=error.fix) from error


def _field(record: Any, name: str, *, path: Path, number: int) -> Any:
    if isinstance(record, dict) and name in record:
        return record[name]
    shown = repr(record)
    raise MetricError(
        f"record {number} of {path} has no {name!r}: {shown[:80]}",
        where=f"{path}, record {number}",
        fix=f"give every record {name!r}",
    )


def _single(value: Any) -> Any:
    """Return the caption in `["caption"]`, as coco-caption's tools write it, or in its text."""
    opened = value
    if isinstance(value, str):
        # A model may write anything, numbers in brackets too.
        with suppress(NotTextError):
            opened = read_list_cell(value) or value
    return opened[0] if isinstance(opened, list | tuple) and len(opened) == 1 else value


def _open_lists(
    references: dict[str, list[str]], path: Path, *, notes: list[str] | None
) -> dict[str, list[str]]:
    """Replace texts that contain a Python list by the captions in it, with a note."""
    opened, number = {}, 0
    for image_id, captions in references.items():
        where = f"{path}, image_id {image_id}"
        read = [_open_text(text, where) if isinstance(text, str) else None for text in captions]
        number += sum(own is not None for own in read)
        pairs = zip(captions, read, strict=True)
        opened[image_id] = [c for text, own in pairs for c in ([text] if own is None else own)]
    if number and notes is not None:
        notes.append(f"{format_count(number, 'text')} in {path} read as Python lists")
    return opened


def _open_text(text: str, where: str) -> tuple[str, ...] | None:
    try:
        return read_list_cell(text)
    except NotTextError as error:
        what = f"{error.what} (written as text)"
        raise MetricError(what, where=where, fix="write each caption as text") from error


def _refuse_duplicates(ids: Sequence[str], path: Path) -> None:
    if len(set(ids)) == len(ids):
        return
    seen: set[str] = set()
    duplicate = dict.fromkeys(i for i in ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]
    raise MetricError(
        f"{path} has {format_count(len(duplicate), 'image id')} twice: {name_ids(list(duplicate))}",
        where=str(path),
        fix="give each image once",
    )


def _wrong_format(path: Path, content: Any, *, formats: str) -> MetricError:
    kind = type(content).__name__
    return MetricError(f"{path} contains JSON of type {kind}", where=str(path), fix=formats)
