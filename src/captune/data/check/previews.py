"""The images that the page of a data check shows: examples of captions, and small previews."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from itertools import chain, islice, zip_longest

from PIL import Image

from captune.data.check.caption_stats import normalise_caption
from captune.data.check.findings import DataCheck
from captune.data.images import decode_image
from captune.data.record_store import iter_plain
from captune.errors import ImageError
from captune.records import CaptionRecord

_PREVIEW_SIDE = 112
_MOST_PREVIEWS = 96
_FIRST = 2
"""Images of a group that get a preview before any group gets more: duplicates are a pair."""
_MAX_SEARCHED = 100_000
"""Images searched for examples of captions; a million would take seconds."""


def find_caption_examples(
    findings: DataCheck, records: Sequence[CaptionRecord]
) -> dict[str, tuple[str, ...]]:
    """Return the first readable images with each placeholder or common caption, by caption."""
    captions = (*findings.placeholder_captions, *findings.common_captions)
    open_places = {item.caption: min(findings.SHOWN, item.num_images) for item in captions}
    examples: dict[str, list[str]] = {caption: [] for caption in open_places}
    unreadable = {image.image_id for image in findings.unreadable}
    for record in islice(iter_plain(records), _MAX_SEARCHED):
        if not open_places:
            break
        if record.image_id in unreadable:
            continue
        for caption in dict.fromkeys(record.captions):
            if caption in open_places:
                examples[caption].append(record.image_id)
                if len(examples[caption]) == open_places[caption]:
                    del open_places[caption]
    return {caption: tuple(ids) for caption, ids in examples.items()}


def find_repeats(findings: DataCheck, records: Sequence[CaptionRecord]) -> dict[str, str]:
    """Return a caption that each of the first images has twice, as first written, by image."""
    wanted = set(findings.repeated_captions[: findings.SHOWN_GROUPS])
    found: dict[str, str] = {}
    for record in iter_plain(records):
        if len(found) == len(wanted):
            break
        if record.image_id in wanted:
            own: dict[str, str] = {}
            for caption in record.captions:
                key = normalise_caption(caption)
                if key in own:
                    found[record.image_id] = own[key]
                    break
                own[key] = caption
    return found


def make_previews(findings: DataCheck, records: Sequence[CaptionRecord]) -> dict[str, str]:
    """Return small JPEGs of at most 96 images that the page shows, as data URIs by id."""
    unreadable = {image.image_id for image in findings.unreadable}
    readable = (name for name in _rank_images(findings) if name not in unreadable)
    wanted = list(islice(dict.fromkeys(readable), _MOST_PREVIEWS))
    if not wanted:
        return {}
    chosen = set(wanted)
    by_id = {record.image_id: record for record in records if record.image_id in chosen}
    return {image_id: _preview(by_id[image_id]) for image_id in wanted if image_id in by_id}


def _rank_images(findings: DataCheck) -> Iterator[str]:
    """Yield the ids of the images on the page, those that most need a preview first.

    Every kind of finding gets its turn, so that none uses up the previews of the others.
    """
    kinds: tuple[Sequence[Sequence[str]], ...] = (
        [leak.image_ids for leak in findings.leaks[: findings.SHOWN_GROUPS]],
        findings.exact_duplicates,
        findings.near_duplicates,
        [findings.examples.get(item.caption, ()) for item in findings.placeholder_captions],
        [findings.examples.get(item.caption, ()) for item in findings.common_captions],
        [findings.empty_captions],
        [(image_id,) for image_id in findings.repeated_captions],
    )
    shown = [kind[: findings.SHOWN_GROUPS] for kind in kinds]
    in_turn = list(chain.from_iterable(zip_longest(*shown, fillvalue=())))
    for part in (slice(_FIRST), slice(_FIRST, findings.SHOWN)):
        for group in in_turn:
            yield from group[part]


def _preview(record: CaptionRecord) -> str:
    try:
        image = decode_image(record.image)
    except ImageError:
        # Readable a moment ago; the page shows its name.
        return ""
    image.thumbnail((_PREVIEW_SIDE, _PREVIEW_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
