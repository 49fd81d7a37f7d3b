"""Scored images that a model was trained on, found in the splits that its run has saved.

A data set without splits is scored entirely, so a model of a run on the same data is scored mostly
on the images that it has learned by heart; the numbers alone do not show it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from captune.data import load_splits
from captune.errors import CaptuneError
from captune.records import CaptionRecord
from captune.storage import expand_home
from captune.suggest import quote_words
from captune.text_safety import clean_text


def warn_of_training_images(
    models: Mapping[str, str], records: Sequence[CaptionRecord]
) -> list[str]:
    """Return a sentence for every model that was trained on some of the scored images.

    An image is the same if its id and one of its captions are equal.

    Args:
        models: Name, as it starts a sentence -> folder or hub id; only runs are known.
        records: The scored images.
    """
    scored = {record.image_id: frozenset(record.captions) for record in records}
    sentences = []
    for name, source in models.items():
        run = _find_run(source)
        seen = 0 if run is None else _count_seen(run, scored)
        if seen:
            sentences.append(
                f"{clean_text(name)} was trained on {seen:,} of the {len(scored):,} scored images,"
                f" so its scores say little about new images; {quote_words('--data', str(run))}"
                " scores only images that it has not seen."
            )
    return sentences


def _find_run(source: str) -> Path | None:
    folder = expand_home(source)
    places = (folder, folder.parent) if folder.name == "model" else (folder,)
    return next((p for p in places if (p / "splits" / "train.jsonl").is_file()), None)


def _count_seen(run: Path, scored: Mapping[str, frozenset[str]]) -> int:
    count = 0
    # The splits of a damaged run prove nothing.
    with suppress(CaptuneError, OSError):
        for record in load_splits(run):
            if record.split == "train" and record.image_id in scored:
                count += not scored[record.image_id].isdisjoint(record.captions)
    return count
