"""Take the pictures of README and docs again, from a real run on the built-in set, with Chromium.

    captune demo
    captune demo --set train.epochs=2 --set name=short
    python website/pictures.py runs/demo runs/short

Both are finished runs on the built-in data set; the second one is compared with the first. The
pictures in docs/images are overwritten: the report, its images, and the server's page. Photographs
of data sets must not be shown, so a run on anything else is refused.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from captune.data import caption_is_true, decode_image, make_shapes
from captune.records import CaptionRecord

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
WIDE = {"width": 1180, "height": 800}
TALL = {"width": 1180, "height": 950}
NUM_PICTURES = 8


def main() -> None:
    """Read the arguments and take all pictures."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("other", type=Path)
    options = parser.parse_args()
    run, other = options.run.resolve(), options.other.resolve()
    source = json.loads((run / "data_check.json").read_text())["source"]
    if not source.startswith("shapes"):
        sys.exit(f"{run} shows images of {source}; only those of the built-in set may be published")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        report(browser.new_page(viewport=TALL), run)
        with server(run, other) as address, tempfile.TemporaryDirectory() as folder:
            pictures = draw(Path(folder))
            serve_page(browser.new_page(viewport=WIDE), address, pictures=pictures)
            serve_compare(browser.new_page(viewport=WIDE), address, pictures=pictures)
        browser.close()
    for picture in sorted(IMAGES.glob("*.png")):
        shrink(picture)
        print(f"{picture.name}: {picture.stat().st_size / 1000:.0f} kB")


def find_chromium() -> str | None:
    """Return Debian's Chromium; `None`: the one that playwright installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


def report(page: Any, run: Path) -> None:
    """Take the top of the report, and its first images."""
    page.goto((run / "report.html").as_uri())
    page.wait_for_timeout(500)
    page.screenshot(path=IMAGES / "report.png")
    page.evaluate("document.querySelector('#gallery').scrollIntoView({block: 'start'})")
    # Images are decoded when they come into view.
    page.wait_for_timeout(1000)
    page.screenshot(path=IMAGES / "report-images.png")


def draw(folder: Path) -> dict[Path, CaptionRecord]:
    """Write pictures that the models have not seen; return them with what they show."""
    drawn = {}
    for number, record in enumerate(make_shapes(NUM_PICTURES, seed=77, image_size=256)):
        path = folder / f"scene-{number + 1}.png"
        decode_image(record.image).save(path)
        drawn[path] = record
    return drawn


@contextlib.contextmanager
def server(run: Path, other: Path) -> Iterator[str]:
    """Serve the models of both runs; yield the address."""
    command = [sys.executable, "-m", "captune", "serve", "--port", "0"]
    models = [f"demo={run / 'model'}", f"short={other / 'model'}"]
    process = subprocess.Popen([*command, *models], stderr=subprocess.PIPE, text=True)
    try:
        yield wait_for(process)
    finally:
        process.terminate()
        process.wait(timeout=60)


def wait_for(process: subprocess.Popen[str]) -> str:
    """Return the server's address once its models are ready."""
    assert process.stderr is not None
    address = ""
    for line in process.stderr:
        if found := re.search(r"http://[\d.]+:\d+", line):
            address = found[0]
            break
    for _ in range(240):
        try:
            with urllib.request.urlopen(f"{address}/readyz"):
                return address
        except OSError:
            time.sleep(0.5)
    raise TimeoutError("the server is not ready after two minutes")


def serve_page(page: Any, address: str, *, pictures: dict[Path, CaptionRecord]) -> None:
    """Take the page with captions of a few pictures and their alternatives."""
    page.goto(address)
    page.set_input_files("#files", list(pictures)[:6])
    wait_for_count(page.locator("#cards > [data-status=done]"), 6)
    page.wait_for_timeout(500)
    page.screenshot(path=IMAGES / "serve-page.png")


def serve_compare(page: Any, address: str, *, pictures: dict[Path, CaptionRecord]) -> None:
    """Take the comparison of both models, with a vote for the caption that is true."""
    page.goto(f"{address}/#compare")
    page.wait_for_selector("#model-b option[value=short]", state="attached")
    page.set_input_files("#files", list(pictures))
    page.click("#compare-start")
    wait_for_count(page.locator(".ballot"), len(pictures))
    for place, record in enumerate(pictures.values()):
        row = page.locator("#pairs > li").nth(place)
        texts = row.locator(".caption-text").all_inner_texts()
        true = [caption_is_true(record.image_id, text) for text in texts]
        word = "tie" if true[0] == true[1] else ("first" if true[0] else "second")
        row.locator(f"[data-vote={word}]").click()
    page.click("#reveal")
    page.wait_for_timeout(500)
    page.screenshot(path=IMAGES / "serve-compare.png")


def wait_for_count(found: Any, count: int) -> None:
    """Wait until a selection has this many elements; the page forbids scripts of others."""
    from playwright.sync_api import expect

    expect(found).to_have_count(count, timeout=60_000)


def shrink(picture: Path) -> None:
    """Write a picture with a palette of 256 colours, which suits pages and drawings."""
    with Image.open(picture) as image:
        small = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small.save(picture, optimize=True)


if __name__ == "__main__":
    main()
