"""Check a data set before training: what it contains, and its problems.

Every image is decoded once. The check finds what silently falsifies scores: the same image in
train and test, a caption that half of the images share, captions cut at the token limit.
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from PIL import Image

from captune.data.check.caption_stats import (
    find_common_captions,
    find_placeholders,
    measure_lengths,
    normalise_caption,
)
from captune.data.check.duplicates import Fingerprint, fingerprint_image, group_exact, group_near
from captune.data.check.findings import DataCheck, LeakKind, SplitLeak
from captune.data.check.problems import list_problems
from captune.data.dataset import LoadedData, SkippedImage
from captune.data.decoders.decoder import DecodeOptions, count_threads, open_decoder
from captune.data.images import decode_image, describe_source
from captune.errors import ImageError
from captune.metrics import measure_scripts
from captune.records import SPLITS, CaptionRecord

_PREVIEW_SIDE = 112
_MOST_PREVIEWS = 96


@dataclass(frozen=True, slots=True)
class _Images:
    records: list[CaptionRecord]
    prints: list[Fingerprint]
    unreadable: list[SkippedImage]


def check_data(
    data: LoadedData,
    *,
    count_tokens: Callable[[str], int] | None = None,
    max_caption_tokens: int = 64,
    decoding: DecodeOptions | None = None,
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
        report_progress: Called after each image with the number of images done.

    Returns:
        Figures and problems.
    """
    records = data.records
    images = _read_images(records, decoding=decoding or DecodeOptions(), report=report_progress)
    captions = [caption for record in records for caption in record.captions]
    exact = _name_groups(group_exact(images.prints), images.records)
    near = _name_groups(group_near(images.prints), images.records)
    script = measure_scripts(captions).unspaced
    tokens = None if count_tokens is None else [count_tokens(caption) for caption in captions]
    findings = DataCheck(
        source=" ".join(part for part in (data.format, str(data.root or "")) if part),
        num_images=len(records),
        num_captions=len(captions),
        splits=data.count_splits(),
        captions_per_image=dict(sorted(Counter(len(r.captions) for r in records).items())),
        widths=_spread(fingerprint.width for fingerprint in images.prints),
        heights=_spread(fingerprint.height for fingerprint in images.prints),
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
        previews=_make_previews(findings, images.records),
    )


def _read_images(
    records: Sequence[CaptionRecord],
    *,
    decoding: DecodeOptions,
    report: Callable[[int], object] | None,
) -> _Images:
    def read(record: CaptionRecord) -> Fingerprint | SkippedImage:
        try:
            return decoder.decode(record.image, fingerprint_image)
        except ImageError as error:
            is_nameless = isinstance(record.image, bytes)
            name = record.image_id if is_nameless else describe_source(record.image)
            detail = f"{error.where}: {error.fix}" if error.fix else error.where
            return SkippedImage(record.image_id, record.file_name or name, error.what, detail)

    num_threads = decoding.num_threads or count_threads()
    images = _Images([], [], [])
    # Threads, because Pillow releases the GIL while it decodes. On Ctrl-C, they end with their
    # decoder.
    with (
        ThreadPoolExecutor(num_threads) as pool,
        open_decoder(
            decoding.mode, num_threads=num_threads, max_pixels=decoding.max_pixels
        ) as decoder,
    ):
        for done, (record, result) in enumerate(
            zip(records, pool.map(read, records), strict=True), start=1
        ):
            if isinstance(result, SkippedImage):
                images.unreadable.append(result)
            else:
                images.records.append(record)
                images.prints.append(result)
            if report is not None:
                report(done)
    return images


def _name_groups(
    groups: list[list[int]], records: Sequence[CaptionRecord]
) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(records[place].image_id for place in group) for group in groups)


def _spread(values: Iterable[int]) -> tuple[int, ...]:
    ordered = sorted(values)
    return (ordered[0], ordered[len(ordered) // 2], ordered[-1]) if ordered else ()


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
    by_id = {record.image_id: record for record in records}
    shown = [
        image_id
        for group in (
            *(leak.image_ids for leak in findings.leaks),
            *findings.exact_duplicates,
            *findings.near_duplicates,
        )
        for image_id in group[:4]
    ]
    wanted = [image_id for image_id in dict.fromkeys(shown) if image_id in by_id]
    return {image_id: _preview(by_id[image_id]) for image_id in wanted[:_MOST_PREVIEWS]}


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
