"""Check a data set before training: what it contains, and its problems.

Every image is decoded once. The check finds what silently falsifies scores: the same image in
train and test, a caption that half of the images share, captions cut at the token limit.
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from PIL import Image

from captune.data.check.caption_stats import (
    find_common_captions,
    find_placeholders,
    measure_lengths,
    normalise_caption,
)
from captune.data.check.duplicates import group_exact, group_near
from captune.data.check.findings import DataCheck, LeakKind, SplitLeak
from captune.data.check.kept_findings import KeptFindings
from captune.data.check.problems import list_problems
from captune.data.check.read_images import ReadImages, read_images
from captune.data.dataset import LoadedData
from captune.data.decoders.decoder import DecodeOptions
from captune.data.images import decode_image
from captune.errors import ImageError
from captune.metrics import measure_scripts
from captune.records import SPLITS, CaptionRecord

_PREVIEW_SIDE = 112
_MOST_PREVIEWS = 96


def check_data(
    data: LoadedData,
    *,
    count_tokens: Callable[[str], int] | None = None,
    max_caption_tokens: int = 64,
    decoding: DecodeOptions | None = None,
    kept: KeptFindings | None = None,
    report_progress: Callable[[int], object] | None = None,
) -> DataCheck:
    """Check a data set.

    Args:
        data: A data set as `load_records` gave it, or `LoadedData(tuple(records))`.
        count_tokens: Returns the tokens of a caption in training, including special ones; `None`:
            lengths are counted only in words.
        max_caption_tokens: Maximum tokens per caption in training.
        decoding: Where images are decoded, by how many threads, and how large they may be;
            `None`: the defaults.
        kept: Where findings about images are kept between checks; `None`: all images are read.
        report_progress: Called after each image with the number of images done.

    Returns:
        Figures and problems.
    """
    records = data.records
    images = read_images(
        records, decoding=decoding or DecodeOptions(), kept=kept, report=report_progress
    )
    captions = [caption for record in records for caption in record.captions]
    exact = _name_groups(group_exact(images.prints), images, records)
    near = _name_groups(group_near(images.prints), images, records)
    script = measure_scripts(captions).unspaced
    tokens = None if count_tokens is None else [count_tokens(caption) for caption in captions]
    findings = DataCheck(
        source=" ".join(part for part in (data.format, str(data.root or "")) if part),
        num_images=len(records),
        num_captions=len(captions),
        splits=data.count_splits(),
        captions_per_image=dict(sorted(Counter(len(r.captions) for r in records).items())),
        widths=_spread(images.prints.widths),
        heights=_spread(images.prints.heights),
        words=measure_lengths(len(caption.split()) for caption in captions),
        tokens=None if tokens is None else measure_lengths(tokens),
        max_caption_tokens=max_caption_tokens,
        num_cut=sum(number > max_caption_tokens for number in tokens or ()),
        unspaced_script=script,
        characters=measure_lengths(len("".join(text.split())) for text in captions)
        if script
        else None,
        vocabulary=len({word for text in captions for word in normalise_caption(text).split()}),
        skipped=data.skipped,
        unreadable=tuple(images.unreadable),
        exact_duplicates=exact,
        near_duplicates=near,
        leaks=_find_leaks(data, exact=exact, near=near),
        empty_captions=(*data.empty_captions, *_find_empty(records)),
        placeholder_captions=find_placeholders(records),
        common_captions=find_common_captions(records),
        repeated_captions=_find_repeated(records),
        notes=data.notes,
    )
    return replace(
        findings,
        problems=list_problems(findings),
        previews=_make_previews(findings, records),
    )


def _name_groups(
    groups: list[list[int]], images: ReadImages, records: Sequence[CaptionRecord]
) -> tuple[tuple[str, ...], ...]:
    places = images.places
    return tuple(tuple(records[places[n]].image_id for n in group) for group in groups)


def _spread(values: npt.NDArray[np.uint32]) -> tuple[int, ...]:
    ordered = np.sort(values)
    return tuple(int(ordered[n]) for n in (0, len(ordered) // 2, -1)) if len(ordered) else ()


def _find_leaks(
    data: LoadedData, *, exact: tuple[tuple[str, ...], ...], near: tuple[tuple[str, ...], ...]
) -> tuple[SplitLeak, ...]:
    splits = {record.image_id: record.split for record in data.records}
    groups: dict[str, list[str]] = {}
    for record in data.records:
        if record.group is not None:
            groups.setdefault(record.group, []).append(record.image_id)
    leaks = [SplitLeak("given", (image_id,), ()) for image_id in data.in_two_splits]
    by_group = tuple(tuple(ids) for ids in groups.values())
    kinds: tuple[tuple[LeakKind, tuple[tuple[str, ...], ...]], ...] = (
        ("exact", exact),
        ("near", near),
        ("group", by_group),
    )
    for kind, members in kinds:
        for ids in members:
            touched = tuple(name for name in SPLITS if any(splits[i] == name for i in ids))
            if len(touched) > 1:
                leaks.append(SplitLeak(kind, ids, touched))
    return tuple(leaks)


def _find_empty(records: Sequence[CaptionRecord]) -> list[str]:
    return [r.image_id for r in records if not r.captions or not all(c.strip() for c in r.captions)]


def _find_repeated(records: Sequence[CaptionRecord]) -> tuple[str, ...]:
    return tuple(
        record.image_id
        for record in records
        if len({normalise_caption(caption) for caption in record.captions}) < len(record.captions)
    )


def _make_previews(findings: DataCheck, records: Sequence[CaptionRecord]) -> dict[str, str]:
    shown = [
        image_id
        for group in (
            *(leak.image_ids for leak in findings.leaks),
            *findings.exact_duplicates,
            *findings.near_duplicates,
        )
        for image_id in group[:4]
    ]
    unreadable = {image.image_id for image in findings.unreadable}
    wanted = [image_id for image_id in dict.fromkeys(shown) if image_id not in unreadable]
    wanted = wanted[:_MOST_PREVIEWS]
    chosen = set(wanted)
    by_id = {record.image_id: record for record in records if record.image_id in chosen}
    return {image_id: _preview(by_id[image_id]) for image_id in wanted if image_id in by_id}


def _preview(record: CaptionRecord) -> str:
    try:
        image = decode_image(record.image)
    except ImageError:
        # Readable a moment ago; the page omits it.
        return ""
    image.thumbnail((_PREVIEW_SIDE, _PREVIEW_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
