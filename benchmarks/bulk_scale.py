"""Bulk captioning of a million images in one folder: scan, memory, and the start of a resumed run.

`python benchmarks/bulk_scale.py [--images 1000000] [--folder F]` prints each target with what was
measured. The captioner is a stub without service time. The images are hard links to 4,000 distinct
ones, so all but those captions are reused; every image is found, hashed, worded, written and
committed. Each measurement is a process of its own. The folder is deleted at the end, unless it is
named with `--folder`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from captune.bulk import Outcome, Surroundings, find_items
from support.bulk.hostile_images import write_photos
from support.bulk.library import caption
from support.bulk.stub_captioner import write_stub

_NUM_DISTINCT = 4_000
_SMALL = 10_000


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--images", type=int, default=1_000_000)
    words.add_argument("--folder", type=Path)
    words.add_argument("--measure", choices=_MEASURES)
    given = words.parse_args()
    if given.measure:
        print(json.dumps(_MEASURES[given.measure](given.folder)))
        return
    with tempfile.TemporaryDirectory(prefix="captune-scale-") as scratch:
        folder = given.folder or Path(scratch)
        small, large = folder / "small", folder / "large"
        for place, count in ((small, _SMALL), (large, given.images)):
            _link_images(place, count)
        found = _run("scan", large)
        paths = f"{found['count']:,} images, s; {found['cpu']:.0f} s of CPU"
        _show("scan of all paths", found["seconds"], 60, paths)
        _show("first path", found["first"], 10, "s")
        few, many = _run("caption", small), _run("caption", large)
        _show("first caption", many["first"], 10, "s after the model was loaded")
        rate = many["count"] / many["seconds"]
        print(
            f"      {many['count']:,} captions in {many['seconds']:.0f} s, {rate:.0f} per second,"
            f" {many['cpu']:.0f} s of CPU"
        )
        growth = 100 * (many["peak"] / few["peak"] - 1)
        kept = f"{few['peak']:.0f} MB -> {many['peak']:.0f} MB, %"
        _show(f"memory from {few['count']:,} to {many['count']:,}", growth, 5, kept)
        (large / "photos" / "zzz.png").write_bytes(_one_more(large))
        again = _run("caption", large)
        assert again["count"] == 1, again
        cpu = f"s; {again['cpu']:.0f} s of CPU"
        _show("resumed run, until its one new caption", again["start"], 30, cpu)


def _link_images(place: Path, count: int) -> None:
    """Write a folder of images, hard links to a few thousand, and a stub beside it."""
    photos = place / "photos"
    write_stub(place / "model")
    if photos.is_dir():
        return
    distinct = write_photos(place / "distinct", _NUM_DISTINCT)
    photos.mkdir()
    for number in range(count):
        os.link(distinct[number % _NUM_DISTINCT], photos / f"{number:07d}.png")


def _one_more(place: Path) -> bytes:
    (photo,) = write_photos(place / "more", _NUM_DISTINCT + 1)[-1:]
    return photo.read_bytes()


def _scan(place: Path) -> dict[str, float]:
    began = time.perf_counter()
    items = find_items((str(place / "photos"),))
    next(items)
    first = time.perf_counter() - began
    count = 1 + sum(1 for _ in items)
    return {
        "seconds": time.perf_counter() - began,
        "cpu": time.process_time(),
        "first": first,
        "count": count,
    }


def _caption(place: Path) -> dict[str, float]:
    os.environ["CAPTUNE_CACHE"] = str(place / "cache")
    firsts: list[float] = []

    def note(_outcome: Outcome) -> None:
        if not firsts:
            firsts.append(time.perf_counter())

    began = time.perf_counter()
    result = caption(
        place / "model",
        place / "photos",
        out=place / "captions.jsonl",
        around=Surroundings(on_progress=note),
    )
    assert not result.outcome.num_failed
    return {
        "first": firsts[0] - result.began,
        "start": firsts[0] - began,
        "seconds": result.ended - began,
        "cpu": time.process_time(),
        "count": result.outcome.num_done,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _run(measure: str, place: Path) -> dict[str, float]:
    words = [sys.executable, __file__, "--measure", measure, "--folder", str(place)]
    return dict(json.loads(subprocess.run(words, check=True, capture_output=True).stdout))


def _show(name: str, value: float, limit: float, unit: str) -> None:
    verdict = "ok  " if value <= limit else "MISS"
    print(f"{verdict}  {name}: {value:.1f} ({unit}; target {limit})", flush=True)


_MEASURES = {"scan": _scan, "caption": _caption}

if __name__ == "__main__":
    main()
