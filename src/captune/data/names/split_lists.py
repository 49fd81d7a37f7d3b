"""Split lists: text files that name the images of a split, one per line."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from captune.data.dataset import LoadedData
from captune.data.record_store import code_of, count_by_split, iter_plain, set_splits
from captune.data.rows.text import read_text
from captune.errors import DataError
from captune.records import SPLITS, CaptionRecord, Split
from captune.suggest import format_count


def assign_lists(data: LoadedData, *, lists: Mapping[Split, Path]) -> LoadedData:
    """Give each record the split whose list names it; records without a list get no split.

    Without a list for train, `assign_splits` draws the other splits from the rest.

    A list may name an image by id, path, file name, or file name without its suffix; the first of
    these that fits an image counts. A name that fits several images is reported and not used.

    Raises:
        DataError: A list cannot be read, is empty, or has no name that is in the data set.
    """
    index = _index_names(data.records)
    known = {name for image in data.skipped for name in _spell(image.image_id, image.file)}
    splits: dict[str, Split] = {}
    twice: dict[str, None] = dict.fromkeys(data.in_two_splits)
    notes = list(data.notes)
    for split in SPLITS:
        if split not in lists:
            continue
        found, own_notes = _match_list(lists[split], split, data, index=index, known=known)
        notes += own_notes
        twice.update(dict.fromkeys(sorted(found & splits.keys())))
        splits = {**dict.fromkeys(found, split), **splits}
    codes = (code_of(splits.get(record.image_id)) for record in data.records)
    records = set_splits(data.records, np.fromiter(codes, np.uint8, len(data.records)))
    unlisted = count_by_split(records).get(None, 0)
    if unlisted and "train" in lists:
        notes.append(f"{format_count(unlisted, 'image')} skipped: in no split list")
    elif unlisted:
        notes.append(
            f"{format_count(unlisted, 'image is', plural='images are')} in no split list: the"
            " splits"
            " without a list are drawn from them"
        )
    return replace(
        data,
        records=records,
        in_two_splits=tuple(twice),
        notes=tuple(notes),
        draws_rest="train" not in lists,
    )


def _read_names(path: Path) -> list[str]:
    names = [line.strip() for line in read_text(path).split("\n") if line.strip()]
    if not names:
        raise DataError(
            "a split list is empty", where=str(path), fix="write one image name or id per line"
        )
    return names


def _match_list(
    path: Path,
    split: Split,
    data: LoadedData,
    *,
    index: Mapping[str, str | None],
    known: Collection[str],
) -> tuple[set[str], list[str]]:
    """Return the images that a list names, and notes on its names that are not used.

    Raises:
        DataError: It names no image of the data set.
    """
    names = _read_names(path)
    meant = {name: index[name] for name in names if name in index}
    found = {image_id for image_id in meant.values() if image_id is not None}
    shared = [name for name in meant if meant[name] is None]
    if shared and not found:
        raise DataError(
            f"no image is in the {split} list: each of its names fits several images, such as"
            f" {shared[0]!r}",
            where=str(path),
            fix="write the ids or paths of the images",
        )
    if not found and not any(name in known for name in names):
        raise DataError(
            f"no image of the {split} list ({format_count(len(names), 'image')}) is in the data"
            f" set: the first is {names[0]!r}, the data set's first is"
            f" {data.records[0].image_id if data.records else None!r}",
            where=str(path),
            fix="list the images by their file names or ids as the data set spells them,"
            " one per line",
        )
    notes = []
    if shared:
        notes.append(
            f"{format_count(len(shared), 'name')} of {path.name} not used, as each fits several"
            f" images (the first: {shared[0]}): write their ids or paths"
        )
    absent = sum(name not in index and name not in known for name in names)
    if absent:
        notes.append(f"{format_count(absent, 'image')} of {path.name} not in the data set")
    return found, notes


def _index_names(records: Sequence[CaptionRecord]) -> dict[str, str | None]:
    """Return the image that each name means; `None`: it fits several equally well."""
    index: dict[str, str | None] = {}
    for place in range(len(_spell("", ""))):
        own: dict[str, str | None] = {}
        for plain in iter_plain(records):
            file_name = plain.image_id if plain.file_name is None else plain.file_name
            name = _spell(plain.image_id, file_name)[place]
            if name not in index:
                own[name] = (
                    plain.image_id if own.get(name, plain.image_id) == plain.image_id else None
                )
        index |= own
    return index


def _spell(image_id: str, file_name: str) -> tuple[str, ...]:
    file = PurePosixPath(file_name)
    return (image_id, file_name, file.name, file.stem)
