"""Write data sets that contain their images: WebDataset shards and Parquet."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from captune.data.dataset import SkippedImage
from captune.data.images import IMAGE_SUFFIXES, describe_source, read_source
from captune.errors import ImageError
from captune.records import CaptionRecord
from captune.storage import open_atomic

Columns = Mapping[str, Mapping[str, object]]
"""Further columns of each image, by id."""

_SHARD_IMAGES = 10_000
_ROW_GROUP = 100
_KEY = re.compile(r"[\w-]{1,100}")


def write_webdataset(
    records: Sequence[CaptionRecord], folder: Path, *, split: str, columns: Columns
) -> list[SkippedImage]:
    """Write `train-000000.tar` and so on, with 10,000 images each and a JSON file per image.

    Returns:
        Images that could not be read.
    """
    skipped: list[SkippedImage] = []
    # Ids or numbers: an id may be another image's number.
    has_keys = all(_KEY.fullmatch(record.image_id) for record in records)
    for shard, start in enumerate(range(0, len(records), _SHARD_IMAGES)):
        chosen = records[start : start + _SHARD_IMAGES]
        path = folder / f"{split}-{shard:06d}.tar"
        with open_atomic(path) as file, tarfile.open(fileobj=file, mode="w") as archive:
            for number, (record, content) in enumerate(_read_images(chosen, skipped), start=start):
                key = record.image_id if has_keys else f"{number:09d}"
                value = {
                    **columns.get(record.image_id, {}),
                    "image_id": record.image_id,
                    "captions": list(record.captions),
                    "group": record.group,
                }
                _add(archive, f"{key}{_choose_suffix(record)}", content)
                _add(archive, f"{key}.json", json.dumps(value).encode())
    return skipped


def write_parquet(
    records: Sequence[CaptionRecord], folder: Path, *, split: str, columns: Columns
) -> list[SkippedImage]:
    """Write `train-00000-of-00001.parquet`, which `datasets` reads with its images.

    Other columns are texts; values that are not texts are written as JSON.

    Returns:
        Images that could not be read.
    """
    import datasets
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = list(dict.fromkeys(name for own in columns.values() for name in own))
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "captions": datasets.List(datasets.Value("string")),
            "image_id": datasets.Value("string"),
            "group": datasets.Value("string"),
            **{name: datasets.Value("string") for name in names},
        }
    )
    skipped: list[SkippedImage] = []
    path = folder / f"{split}-00000-of-00001.parquet"
    with open_atomic(path) as file, pq.ParquetWriter(file, features.arrow_schema) as writer:
        rows = []
        for record, content in _read_images(records, skipped):
            own = columns.get(record.image_id, {})
            name = PurePosixPath(record.file_name.replace("\\", "/")).name or record.image_id
            rows.append(
                {
                    "image": {"bytes": content, "path": _as_utf8(name)},
                    "captions": list(record.captions),
                    "image_id": _as_utf8(record.image_id),
                    "group": _as_utf8(record.group),
                    **{name: _as_utf8(write_cell(own.get(name))) for name in names},
                }
            )
            if len(rows) == _ROW_GROUP:
                writer.write_table(pa.Table.from_pylist(rows, schema=features.arrow_schema))
                rows.clear()
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, schema=features.arrow_schema))
    return skipped


def _as_utf8(text: str | None) -> str | None:
    r"""Return a text that Parquet can hold: bytes of names that are not UTF-8 become `\udcff`."""
    return text if text is None else text.encode("utf-8", "backslashreplace").decode()


def write_cell(value: object) -> str | None:
    """Return a value as the text of a cell: texts and `None` unchanged, all else as JSON."""
    return value if value is None or isinstance(value, str) else json.dumps(value)


PACKED_WRITERS: dict[str, Callable[..., list[SkippedImage]]] = {
    "webdataset": write_webdataset,
    "parquet": write_parquet,
}


def _read_images(
    records: Sequence[CaptionRecord], skipped: list[SkippedImage]
) -> Iterator[tuple[CaptionRecord, bytes]]:
    for record in records:
        try:
            content = read_source(record.image)
        except ImageError as error:
            name = record.file_name or describe_source(record.image)
            skipped.append(SkippedImage(record.image_id, name, error.what, error.where))
        else:
            yield record, content


def _choose_suffix(record: CaptionRecord) -> str:
    names = (record.file_name, record.image.name if isinstance(record.image, Path) else "")
    suffixes = (PurePosixPath(name).suffix.lower() for name in names)
    return next((suffix for suffix in suffixes if suffix in IMAGE_SUFFIXES), ".jpg")


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))
