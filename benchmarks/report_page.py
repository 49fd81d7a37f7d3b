"""How fast a report of many images is written, opens, filters and scrolls in Chromium.

    python benchmarks/report_page.py 10000 [--folder /tmp/report] [--keep]

Writes the report of an invented run, opens it from the disk, loads all images, filters, and scrolls
through the gallery one screen at a time. `open` ends when the page's load event has run and a frame
was drawn; `all images` is the time from the click to the first card of the whole list. A frame
counts as slow after 50 ms.
"""

from __future__ import annotations

import argparse
import io
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from captune.evaluation import ReportInputs, ScoringOptions, score_run, write_report
from captune.recipe import GenerateConfig
from captune.records import CaptionRecord, Prediction

_COLOURS = ("red", "blue", "green", "yellow", "white", "black", "brown")
_THINGS = ("dog", "cat", "boat", "horse", "bird", "bicycle", "child", "ball", "tree", "house")
_PLACES = ("on the grass", "near the water", "in front of a wall", "at night", "in the snow")
_FRAMES = """async (steps) => {
  const gaps = [];
  let last = performance.now();
  let running = true;
  const tick = (now) => {
    gaps.push(now - last);
    last = now;
    if (running) requestAnimationFrame(tick);
  };
  requestAnimationFrame(tick);
  for (let step = 0; step < steps; step += 1) {
    scrollBy({ top: innerHeight * 0.8, behavior: 'instant' });
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  running = false;
  gaps.sort((a, b) => a - b);
  return { median: gaps[gaps.length >> 1], p99: gaps[Math.floor(gaps.length * 0.99)],
    slow: gaps.filter((gap) => gap > 50).length, frames: gaps.length };
}"""


def main() -> None:
    """Write and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", type=int, nargs="?", default=10_000)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/captune-report"))
    parser.add_argument("--keep", action="store_true", help="keep the pages; reuse those there")
    options = parser.parse_args()
    path = options.folder / "report.html"
    if not (options.keep and path.exists()):
        options.folder.mkdir(parents=True, exist_ok=True)
        inputs = make_inputs(options.count)
        start = time.perf_counter()
        write_report(inputs, path)
        print(f"written in {time.perf_counter() - start:.1f} s", flush=True)
    size = sum(p.stat().st_size for p in options.folder.rglob("*") if p.is_file())
    listed = options.folder / "report_files" / "images.js"
    print(
        f"report.html {path.stat().st_size / 1e6:.1f} MB, images.js"
        f" {listed.stat().st_size / 1e6:.1f} MB, all files {size / 1e6:.0f} MB"
    )
    measure(path)
    if not options.keep:
        shutil.rmtree(options.folder)


def make_inputs(count: int) -> ReportInputs:
    """Return a run over `count` images of 320 x 240 pixels with five captions each.

    There are 200 different pictures; each image is decoded and written on its own all the same.
    """
    random = np.random.default_rng(0)
    pictures = [_picture(random) for _ in range(min(count, 200))]

    def caption() -> str:
        parts = [random.choice(words) for words in (_COLOURS, _THINGS, _PLACES)]
        return f"a {parts[0]} {parts[1]} {parts[2]}"

    records = [
        CaptionRecord(
            str(n),
            pictures[n % len(pictures)],
            tuple(caption() for _ in range(5)),
            "test",
            file_name=f"{n}.jpg",
        )
        for n in range(count)
    ]
    ids = [record.image_id for record in records]
    after = [Prediction(image_id, caption(), -1.0, 8, "eos") for image_id in ids]
    before = [Prediction(image_id, "a man in a field", -1.0, 5, "eos") for image_id in ids]
    scoring = ScoringOptions(("bleu", "cider"), "test", GenerateConfig(), 100, 0)
    evaluation = score_run(
        records, before=before, after=after, training_records=records[:100], options=scoring
    )
    return ReportInputs(
        title=f"{count} images",
        description="",
        records=records,
        before=before,
        after=after,
        evaluation=evaluation,
        generate=GenerateConfig(),
        seed=0,
    )


def _picture(random: np.random.Generator) -> bytes:
    small = random.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(small).resize((320, 240), Image.Resampling.BICUBIC).save(buffer, "JPEG")
    return buffer.getvalue()


def measure(path: Path) -> None:
    """Print the times of a page in Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as running:
        browser = running.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        start = time.perf_counter()
        page.goto(f"file://{path}")
        _draw(page)
        print(f"open: {time.perf_counter() - start:.2f} s")
        _time(page, "all images", "[data-gallery-more] button")
        start = time.perf_counter()
        page.fill("[name=q]", "blue dog")
        page.wait_for_function("() => location.hash.includes('q=')")
        _draw(page)
        # The page waits 0.15 s for the next key.
        print(f"filter: {time.perf_counter() - start - 0.15:.2f} s, {_counted(page)}")
        page.fill("[name=q]", "")
        page.wait_for_function("() => !location.hash.includes('q=')")
        page.evaluate("document.querySelector('#gallery').scrollIntoView({behavior: 'instant'})")
        print(f"scroll, 100 screens: {page.evaluate(_FRAMES, 100)}")
        cards = page.locator(".gallery .card").count()
        print(f"cards made while scrolling: {cards}")
        browser.close()


def _time(page: Any, name: str, button: str) -> None:
    start = time.perf_counter()
    page.click(button)
    counted = "() => !document.querySelector('output').textContent.includes('in this file')"
    page.wait_for_function(counted)
    _draw(page)
    print(f"{name}: {time.perf_counter() - start:.2f} s, {_counted(page)}")


def _counted(page: Any) -> str:
    return str(page.inner_text("[data-gallery-controls] output"))


def _draw(page: Any) -> None:
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")


if __name__ == "__main__":
    main()
