"""What the page needs to compare two runs that were scored on the same images.

The values per image of the main metric give a paired test for any two runs, if the corpus value is
their mean, as for CIDEr and ROUGE-L: all runs of a group use the same resamples, so that the page
subtracts two columns and gets the test that `captune compare` prints.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from captune.data import load_splits
from captune.errors import CaptuneError, DataError
from captune.evaluation import read_thumbnail, relative_name
from captune.inference import read_predictions
from captune.metrics import METRICS, draw_counts
from captune.records import CaptionRecord
from captune.runs.saved_run import SavedRun
from captune.storage import intact_json_objects
from captune.text_safety import clean_text, shorten_words

RESAMPLES, SEED = 1000, 42
_MEANS = ("cider", "rouge_l", "wer", "spice")
"""Metrics whose corpus value is the mean of the images' values; checked for each run."""

_MAX_SHOWN = 60
_MAX_CAPTIONS = 12_000
_MAX_THUMBNAILS = 120
_SIDE = 220
_MAX_WORDS = 60
_CHECK = 1e-6


@dataclass(frozen=True)
class ScoredImages:
    """The images of one run with its values and captions.

    Attributes:
        key: Equal for runs that were scored in the same way on the same images in the same order.
        image_ids: The images.
        metric: The metric of `values`.
        values: float64 (images,).
        captions: Image id -> the run's caption.
    """

    key: str
    image_ids: tuple[str, ...]
    metric: str
    values: np.ndarray[Any, np.dtype[np.float64]]
    captions: Mapping[str, str]


def read_images(run: SavedRun) -> ScoredImages | None:
    """Return values and captions per image; `None` if the run lacks them or they do not fit."""
    scores = run.scores.get("after")
    if scores is None:
        return None
    metric = next((name for name in _MEANS if name in scores.metrics), None)
    if metric is None:
        return None
    with suppress(OSError, ValueError, LookupError, TypeError, CaptuneError):
        ids, values = _read_values(run, metric)
        mean = float(values.mean()) if len(values) else math.nan
        if len(ids) == scores.num_images and abs(mean - scores.metrics[metric]) < _CHECK:
            path = run.folder / "predictions" / "after.jsonl"
            captions = {p.image_id: p.caption for p in read_predictions(path)}
            signature = run.signatures.get(metric, "")
            text = "\n".join([metric, signature, *ids])
            key = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=12).hexdigest()
            return ScoredImages(key, ids, metric, values, captions)
    return None


def _read_values(
    run: SavedRun, metric: str
) -> tuple[tuple[str, ...], np.ndarray[Any, np.dtype[np.float64]]]:
    text = (run.folder / "scores_per_image.jsonl").read_text(encoding="utf-8")
    # Rows of the other systems, two of three, need no parsing.
    lines = [line for line in text.split("\n") if '"after"' in line or '"model"' in line]
    rows = [r for r in intact_json_objects("\n".join(lines)) if r["predictions"] in _OWN]
    values = np.array([float(row[metric]) for row in rows])
    if not np.isfinite(values).all():
        raise ValueError("values that are not finite")
    return tuple(str(row["image_id"]) for row in rows), values


_OWN = ("after", "model")


def describe_group(
    members: Mapping[int, ScoredImages], runs: Sequence[SavedRun], *, max_thumbnails: int
) -> dict[str, Any]:
    """Return what the page needs of runs scored on the same images, as JSON values.

    Args:
        members: Place of a run in the list -> its images; at least one.
        runs: All runs.
        max_thumbnails: Maximum number of images shown as pictures.

    Returns:
        `metric`, `decimals`, `lower`, `images` (count), `runs`: place -> `values` and `resampled`
        (base64 of float32), and `shown`: images with references, thumbnail and captions.
    """
    first = next(iter(members.values()))
    table = np.stack([images.values for images in members.values()], axis=1)
    blocks = draw_counts(len(first.image_ids), num_resamples=RESAMPLES, seed=SEED)
    resampled = np.concatenate([counts @ table for counts in blocks]) / len(first.image_ids)
    places = _choose(table, num_runs=len(members))
    records = _find_records(members, runs)
    shown = []
    for number, place in enumerate(places):
        image_id = first.image_ids[place]
        record = records.get(image_id)
        shown.append(
            {
                "name": clean_text(relative_name(record) if record else image_id),
                "place": place,
                "human": [_short(c) for c in record.captions[:5]] if record else [],
                "thumbnail": _draw(record) if record and number < max_thumbnails else "",
                "captions": {
                    str(run): _short(images.captions.get(image_id, ""))
                    for run, images in members.items()
                },
            }
        )
    return {
        "metric": first.metric,
        "label": METRICS[first.metric].label,
        "decimals": METRICS[first.metric].decimals,
        "lower": METRICS[first.metric].better == "lower",
        "images": len(first.image_ids),
        "runs": {
            str(run): {"values": _pack(table[:, c]), "resampled": _pack(resampled[:, c])}
            for c, run in enumerate(members)
        },
        "shown": shown,
    }


def share_thumbnails(num_groups: int) -> list[int]:
    """Return how many thumbnails each group gets, so that the page stays small."""
    each = max(8, _MAX_THUMBNAILS // max(1, num_groups))
    return [each if number * each < _MAX_THUMBNAILS else 0 for number in range(num_groups)]


def _choose(table: np.ndarray[Any, Any], *, num_runs: int) -> list[int]:
    """Return images to show: half where the runs differ most, and others drawn at random."""
    total = len(table)
    size = min(total, _MAX_SHOWN, max(12, _MAX_CAPTIONS // num_runs))
    by_spread = np.argsort(-np.ptp(table, axis=1), kind="stable")
    chosen = dict.fromkeys(by_spread[: size // 2].tolist())
    for place in np.random.default_rng(SEED).permutation(total).tolist():
        if len(chosen) >= size:
            break
        chosen.setdefault(place)
    return list(chosen)


def _find_records(
    members: Mapping[int, ScoredImages], runs: Sequence[SavedRun]
) -> dict[str, CaptionRecord]:
    """Return the images of the first run whose saved splits can be read."""
    for place, images in members.items():
        wanted = set(images.image_ids)
        with suppress(CaptuneError, OSError, ValueError, LookupError, TypeError):
            return {r.image_id: r for r in load_splits(runs[place].folder) if r.image_id in wanted}
    return {}


def _draw(record: CaptionRecord) -> str:
    try:
        return read_thumbnail(record.image, side=_SIDE)[0]
    except (CaptuneError, DataError, OSError):
        # Moved or deleted since the run: its captions can still be compared.
        return ""


def _short(text: str) -> str:
    return shorten_words(clean_text(text), _MAX_WORDS)


def _pack(column: np.ndarray[Any, Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(column, dtype="<f4").tobytes()).decode()
