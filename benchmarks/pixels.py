"""Speed from photographs to the pixels that a model takes, beside captune 0.1's way, in one run.

Both sides read the same files in turns, in one process and one thread: Pillow decodes in full, the
image processor resizes, and a table normalises (as 0.1 did); and training's reader, which decodes
large JPEGs small, resizes with torch, and in later passes reads its store. Ratios are those of
medians of CPU seconds, so that other load on the machine does not matter.

    python benchmarks/pixels.py PHOTOS [--sizes blip-base vit-gpt2-base] [--repeats 5] [--exact]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from captune.data import IMAGE_SUFFIXES, InlineDecoder
from captune.models import Captioner, build_size, train_tokenizer
from captune.progress import print_line
from captune.recipe import Recipe, TokenizerConfig
from captune.records import CaptionRecord
from captune.training.batches.feeding import Feed, TokenizedSet
from captune.training.batches.pixel_store import open_store

BATCH = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path, help="folder of photographs")
    parser.add_argument("--sizes", nargs="+", default=["blip-base", "vit-gpt2-base"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--limit", type=int, default=64, help="photographs used")
    parser.add_argument("--exact", action="store_true", help="data.exact_pixels: true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = sorted(p for p in options.photos.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    records = [CaptionRecord(str(path), path, ("a",)) for path in found[: options.limit]]
    print(f"{len(records)} photographs, one thread, CPU seconds, median of {options.repeats}")
    print(f"{'size':16} {'way':14} {'ms/image':>9} {'ratio':>7}")
    for size in options.sizes:
        compare(size, records, options=options)


def compare(size: str, records: Sequence[CaptionRecord], *, options: argparse.Namespace) -> None:
    tokenizer = train_tokenizer(["a b"], TokenizerConfig(kind="word", min_count=1, vocab_size=30))
    with torch.device("meta"):
        captioner = build_size(size, tokenizer)
    recipe = Recipe.model_validate({"data": {"num_workers": 0, "exact_pixels": options.exact}})
    data = TokenizedSet(records, [[(0, 1)]] * len(records), 0)
    feed = Feed(captioner, data, recipe, ("original",))
    with tempfile.TemporaryDirectory() as folder:
        stored = Feed(captioner, data, recipe, ("original",))
        stored.store = open_store(feed.stored_set("train"), Path(folder), say=lambda _: None)
        ways: dict[str, Callable[[], None]] = {
            "0.1": lambda: read_as_before(captioner, records),
            "first pass": lambda: read(feed, captioner, len(records)),
            "later passes": lambda: read(stored, captioner, len(records)),
        }
        ways["later passes"]()
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(options.repeats):
            for name, way in ways.items():
                started = time.process_time()
                way()
                seconds[name].append(time.process_time() - started)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, median in medians.items():
        each = median / len(records) * 1e3
        print_line(f"{size:16} {name:14} {each:9.2f} {medians['0.1'] / median:6.2f}x")


def read(feed: Feed, captioner: Captioner, count: int) -> None:
    """Read all images by training's reader, and normalise them where the model would."""
    reader = feed.reader()
    for at in range(0, count, BATCH):
        decoded = reader.read([(index, 0) for index in range(at, min(at + BATCH, count))])
        normalise = captioner.image_transform().normalise  # type: ignore[attr-defined]
        normalise(decoded.inputs.pixel_values)


def read_as_before(captioner: Captioner, records: Sequence[CaptionRecord]) -> None:
    """Read all images in full and resize them with the image processor, in float32."""
    transform, decoder = captioner.image_transform(), InlineDecoder()
    for at in range(0, len(records), BATCH):
        rows = [decoder.decode(record.image, transform) for record in records[at : at + BATCH]]
        torch.stack([row.pixel_values[0] for row in rows])


if __name__ == "__main__":
    main()
