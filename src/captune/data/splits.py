"""Splits into training, validation and test images: given, or drawn once and saved.

All captions of an image stay together, and with `by="group"` all images of a group: near
duplicates in two splits would make the score a memory test.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import numpy as np

from captune.data.record_store import (
    Codes,
    PlainRecord,
    code_of,
    count_by_split,
    iter_plain,
    pick_records,
    read_split_codes,
    set_splits,
)
from captune.errors import DataError
from captune.records import SPLITS, CaptionRecord, Split
from captune.suggest import format_count


def assign_splits(
    records: Sequence[CaptionRecord],
    *,
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1),
    seed: int = 42,
    by: Literal["image", "group"] = "image",
    draw_rest: bool = False,
) -> Sequence[CaptionRecord]:
    """Give every record a split.

    Given splits are kept, and records without one are skipped. Where train and test are given but
    val is not, val is drawn from train, because choosing the checkpoint needs one. Where none is
    given, all are drawn: the same ids, fractions and seed give the same splits in any order of the
    records.

    Args:
        records: The data set.
        fractions: Shares of train, val and test, sum 1; a share of 0 leaves the split empty.
        seed: Random seed of the draw.
        draw_rest: Whether records without a split are drawn into the splits that are not given,
            for example where a list gives only test.
        by: The unit that a split keeps together: `image`, or `group` (an image without a group is
            its own).

    Returns:
        The records with their split, in the given order.

    Raises:
        DataError: There are no records, too few images or groups to fill each split, or given
            splits cut a group although `by` is `group`.
    """
    if not records:
        raise DataError(
            "the data set is empty: it has no images to split",
            fix="check data.filters (--filter) and --limit",
        )
    if by == "group":
        _refuse_cut_groups(records)
    codes = read_split_codes(records)
    given = {split for split in count_by_split(records) if split is not None}
    if not given:
        shares = dict(zip(SPLITS, fractions, strict=True))
        return set_splits(records, _draw(records, shares=shares, seed=seed, by=by))
    kept = np.flatnonzero(codes != code_of(None))
    if draw_rest and len(kept) < len(records):
        return _draw_rest(records, given=given, fractions=fractions, seed=seed, by=by)
    if given == {"train", "test"} and fractions[1] > 0.0:
        return _draw_val(pick_records(records, kept), fractions=fractions, seed=seed, by=by)
    return pick_records(records, kept)


def select_split(
    records: Sequence[CaptionRecord], split: Split, *, where: str = ""
) -> Sequence[CaptionRecord]:
    """Return the records of one split.

    Args:
        records: Records with splits.
        split: The split.
        where: The setting that asks for it, for the error.

    Raises:
        DataError: There are none; the error lists the splits with images.
    """
    chosen = pick_split(records, split)
    if len(chosen):
        return chosen
    counts = count_by_split(records)
    there = ", ".join(
        f"{name} ({format_count(number, 'image')})" for name, number in counts.items() if name
    )
    raise DataError(
        f"the split {split} has no images; splits with images: {there or 'none'}",
        where=where,
        fix="give it a share (data.split_fractions) or a list (data.split_files)"
        if split == "train"
        else "choose another split, or give split lists (data.split_files)",
    )


def pick_split(records: Sequence[CaptionRecord], split: Split) -> Sequence[CaptionRecord]:
    """Return the records of one split, which may be none."""
    return pick_records(records, np.flatnonzero(read_split_codes(records) == code_of(split)))


def take_fraction(
    records: Sequence[CaptionRecord], fraction: float, *, seed: int
) -> Sequence[CaptionRecord]:
    """Return a seeded share of the training images, and all validation and test images.

    Groups are kept or dropped as a whole. Which images are kept depends only on their ids and
    groups: a larger share contains the smaller one, and images added to the data set change the
    choice among the others as little as possible.

    Args:
        records: Records with splits; val and test stay as they are.
        fraction: Share of the training images kept, above 0 and up to 1. At least one image or
            group is kept, and the last group may exceed the share.
        seed: Random seed of the draw.

    Returns:
        The records kept, in the given order.

    Raises:
        DataError: The share is not above 0, or above 1.
    """
    if not 0.0 < fraction <= 1.0:
        raise DataError(
            f"a share of the data must be above 0 and at most 1, not {fraction:g}",
            fix="give a number such as 0.1",
        )
    if fraction == 1.0:
        return records
    units: dict[str, list[str]] = {}
    for record in records:
        if record.split == "train":
            units.setdefault(_unit(record, by="group"), []).append(record.image_id)
    wanted = fraction * sum(len(ids) for ids in units.values())
    kept: set[str] = set()
    for unit in sorted(units, key=lambda unit: _draw_place(unit, seed=seed)):
        if kept and len(kept) + len(units[unit]) / 2 > wanted:
            break
        kept.update(units[unit])
    places = [
        place
        for place, record in enumerate(records)
        if record.split != "train" or record.image_id in kept
    ]
    return pick_records(records, np.array(places, np.int64))


def _draw_place(unit: str, *, seed: int) -> bytes:
    # A position of its own for each, not a shuffle of all, which one more image would change.
    return hashlib.sha256(f"{seed} {unit}".encode("utf-8", "surrogateescape")).digest()


def _refuse_cut_groups(records: Sequence[CaptionRecord]) -> None:
    splits: dict[str, set[Split]] = {}
    for record in records:
        if record.group is not None and record.split is not None:
            splits.setdefault(record.group, set()).add(record.split)
    cut = {group: found for group, found in splits.items() if len(found) > 1}
    if not cut:
        return
    group, found = next(iter(cut.items()))
    names = " and ".join(split for split in SPLITS if split in found)
    raise DataError(
        f"{len(cut)} of {len(splits)} groups are in several splits, the first: {group}, in {names}",
        where="the splits that the data set gives, or data.split_files; data.split_by: group",
        fix="fix the splits, or accept near duplicates in two splits with data.split_by: image",
    )


def _draw_rest(
    records: Sequence[CaptionRecord],
    *,
    given: Collection[Split],
    fractions: tuple[float, float, float],
    seed: int,
    by: Literal["image", "group"],
) -> Sequence[CaptionRecord]:
    codes = read_split_codes(records).copy()
    places = np.flatnonzero(codes == code_of(None))
    rest = pick_records(records, places)
    if by == "group":
        _refuse_shared_groups(records)
    wanted = {
        split: fraction
        for split, fraction in zip(SPLITS, fractions, strict=True)
        if split not in given
    }
    total = sum(wanted.values())
    if total == 0.0:
        raise DataError(
            f"{format_count(len(rest), 'image is', plural='images are')} in no given split, and"
            " the shares of the others are 0",
            fix="raise data.split_fractions of train",
        )
    shares = {split: fraction / total for split, fraction in wanted.items()}
    codes[places] = _draw(rest, shares=shares, seed=seed, by=by)
    return set_splits(records, codes)


def _refuse_shared_groups(records: Sequence[CaptionRecord]) -> None:
    given = {r.group: r.split for r in records if r.split is not None and r.group is not None}
    shared = [r.group for r in records if r.split is None and r.group in given]
    if shared:
        raise DataError(
            f"the group {shared[0]} is partly in the given split {given[shared[0]]} and partly in"
            " none",
            where="the splits that the data set gives, or data.split_files; data.split_by: group",
            fix="list whole groups, or accept near duplicates in two splits with data.split_by:"
            " image",
        )


def _draw_val(
    records: Sequence[CaptionRecord],
    *,
    fractions: tuple[float, float, float],
    seed: int,
    by: Literal["image", "group"],
) -> Sequence[CaptionRecord]:
    codes = read_split_codes(records).copy()
    places = np.flatnonzero(codes == code_of("train"))
    share = fractions[1] / (fractions[0] + fractions[1])
    shares: dict[Split, float] = {"train": 1.0 - share, "val": share}
    codes[places] = _draw(pick_records(records, places), shares=shares, seed=seed, by=by)
    return set_splits(records, codes)


def _draw(
    records: Sequence[CaptionRecord],
    *,
    shares: Mapping[Split, float],
    seed: int,
    by: Literal["image", "group"],
) -> Codes:
    """Return the code of the split that each record is drawn into."""
    sizes: dict[str, int] = {}
    for record in iter_plain(records):
        unit = _unit(record, by=by)
        sizes[unit] = sizes.get(unit, 0) + 1
    order = sorted(sizes)
    random.Random(seed).shuffle(order)
    splits = _fill(order, sizes=sizes, shares=shares, by=by)
    codes = (code_of(splits[_unit(record, by=by)]) for record in iter_plain(records))
    return np.fromiter(codes, np.uint8, len(records))


def _unit(record: CaptionRecord | PlainRecord, *, by: Literal["image", "group"]) -> str:
    if by == "group" and record.group is not None:
        return f"group {record.group}"
    return f"image {record.image_id}"


def _fill(
    order: list[str],
    *,
    sizes: Mapping[str, int],
    shares: Mapping[Split, float],
    by: Literal["image", "group"],
) -> dict[str, Split]:
    wanted = [split for split in shares if shares[split] > 0.0]
    if len(order) < len(wanted):
        raise DataError(
            f"{format_count(len(order), by)} cannot fill {len(wanted)} splits: {wanted[-1]} would"
            " be empty",
            fix="add images, or set the share of a split to 0: data.split_fractions, or --train,"
            " --val and --test",
        )
    total = sum(sizes.values())
    # The small splits first: train gets the rest, however the rounding falls.
    wanted.sort(key=lambda split: shares[split])
    splits: dict[str, Split] = {}
    rest = list(order)
    for number, split in enumerate(wanted[:-1], start=1):
        max_units = len(rest) - (len(wanted) - number)
        chosen = _choose(rest, sizes=sizes, wanted=shares[split] * total, max_units=max_units)
        splits.update(dict.fromkeys(chosen, split))
        rest = [unit for unit in rest if unit not in splits]
    splits.update(dict.fromkeys(rest, wanted[-1]))
    return splits


def _choose(
    units: list[str], *, sizes: Mapping[str, int], wanted: float, max_units: int
) -> list[str]:
    chosen: list[str] = []
    filled = 0
    for unit in units:
        if len(chosen) < max_units and filled + sizes[unit] <= wanted + 0.5:
            chosen.append(unit)
            filled += sizes[unit]
    # The group is larger than the share, or the share below one image: use the smallest unit.
    return chosen or [min(units, key=lambda unit: sizes[unit])]
