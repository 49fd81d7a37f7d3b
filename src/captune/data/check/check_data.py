"""Check a data set before training: what it contains, and its problems.

Every image is decoded once. The check finds what silently falsifies scores: the same image in
train and test, a caption that half of the images share, captions cut at the token limit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from captune.data.check.caption_stats import measure_captions
from captune.data.check.duplicates import NearImages, find_near, group_exact
from captune.data.check.findings import DataCheck, LeakKind, SplitLeak
from captune.data.check.kept_findings import KeptFindings
from captune.data.check.previews import find_caption_examples, find_repeats, make_previews
from captune.data.check.problems import list_problems
from captune.data.check.read_images import ReadImages, fingerprint_records
from captune.data.dataset import LoadedData
from captune.data.decoders.decoder import DecodeOptions
from captune.data.record_store import CaptionTexts, code_of, iter_plain, read_split_codes
from captune.metrics import measure_scripts
from captune.records import SPLITS, CaptionRecord


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
        count_tokens: Returns the tokens of a caption in training, including special ones; a
            `BatchCounter` is faster. `None`: lengths are counted only in words.
        max_caption_tokens: Maximum tokens per caption in training.
        decoding: How images are decoded; `None`: the defaults.
        kept: Where findings about images are kept between checks; `None`: all images are read.
        report_progress: Called after each image with the number of images done.

    Returns:
        Figures and problems.
    """
    records = data.records
    images = fingerprint_records(
        records, decoding=decoding or DecodeOptions(), kept=kept, report=report_progress
    )
    exact = _name_groups(group_exact(images.prints), images, records)
    alike = find_near(images.prints)
    near = _name_groups(alike.groups, images, records)
    facts = measure_captions(records, count_tokens=count_tokens, max_tokens=max_caption_tokens)
    script = measure_scripts(CaptionTexts(records)).unspaced
    findings = DataCheck(
        source=" ".join(part for part in (data.format, str(data.root or "")) if part),
        num_images=len(records),
        num_captions=facts.num_captions,
        splits=data.count_splits(),
        captions_per_image=facts.per_image,
        widths=_spread(images.prints.widths),
        heights=_spread(images.prints.heights),
        words=facts.words,
        tokens=facts.tokens,
        max_caption_tokens=max_caption_tokens,
        num_cut=facts.num_cut,
        unspaced_script=script,
        characters=facts.characters if script else None,
        vocabulary=facts.vocabulary,
        skipped=data.skipped,
        unreadable=tuple(images.unreadable),
        exact_duplicates=exact,
        near_duplicates=near,
        leaks=_find_leaks(data, exact=exact, near=near),
        empty_captions=(*data.empty_captions, *facts.empty),
        placeholder_captions=facts.placeholders,
        common_captions=facts.common,
        repeated_captions=facts.repeated,
        notes=(*data.notes, *_note_unsearched(alike)),
    )
    return _add_problems(findings, records)


def _add_problems(findings: DataCheck, records: Sequence[CaptionRecord]) -> DataCheck:
    """Add what follows from the findings: problems, with examples and pictures of them."""
    findings = replace(
        findings,
        problems=list_problems(findings),
        examples=find_caption_examples(findings, records),
        repeats=find_repeats(findings, records),
    )
    return replace(findings, previews=make_previews(findings, records))


def _note_unsearched(found: NearImages) -> list[str]:
    if not found.num_unsearched:
        return []
    return [
        f"{found.num_unsearched} images look so alike that each was compared only with the 63 that"
        " follow it in brightness: near duplicates among them may be missing from the list"
    ]


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
    alike = {image_id for ids in (*exact, *near) for image_id in ids}
    splits: dict[str, int] = {}
    groups: dict[str, list[str]] = {}
    codes = read_split_codes(data.records).tobytes()
    for record, code in zip(iter_plain(data.records), codes, strict=True):
        if record.group is not None:
            groups.setdefault(record.group, []).append(record.image_id)
        if record.group is not None or record.image_id in alike:
            splits[record.image_id] = code
    leaks = [SplitLeak("given", (image_id,), ()) for image_id in data.in_two_splits]
    by_group = tuple(tuple(ids) for ids in groups.values())
    kinds: tuple[tuple[LeakKind, tuple[tuple[str, ...], ...]], ...] = (
        ("exact", exact),
        ("near", near),
        ("group", by_group),
    )
    for kind, members in kinds:
        for ids in members:
            touched = tuple(name for name in SPLITS if any(splits[i] == code_of(name) for i in ids))
            if len(touched) > 1:
                leaks.append(SplitLeak(kind, ids, touched))
    return tuple(leaks)
