"""Draw the pictures of the page of `captune serve`: cards, and a blind comparison of two models.

Needs Chromium and playwright. The second model is the first after two thirds of its training; the
votes follow the truth, which is known for drawn scenes: a true caption beats a false one.

    captune demo
    cp -r runs/demo/model early
    cp runs/demo/checkpoints/step-000900/weights.safetensors early/model.safetensors
    python website/serve_pictures.py complete=runs/demo/model after-900-steps=early
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from captune.data import caption_is_true, make_shapes  # noqa: E402
from captune.records import CaptionRecord  # noqa: E402
from support.serving.browser import chromium  # noqa: E402
from support.serving.live_server import live_server  # noqa: E402

SIZE = {"width": 1180, "height": 800}
# Not in the demo's data set, which is seed 0.
SEED = 11
NUM_COMPARED = 50
SECONDS = 120_000


def main() -> None:
    """Write serve-page.png and serve-compare.png."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs=2, metavar="NAME=MODEL")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    chosen = parser.parse_args()
    models = [one.replace("=", f"={Path.cwd()}/", 1) for one in chosen.models]
    records = make_shapes(NUM_COMPARED, seed=SEED, image_size=384)
    with (
        tempfile.TemporaryDirectory(prefix="captune-pictures-") as folder,
        live_server(Path(folder), models, "--warmup") as server,
        chromium() as browser,
    ):
        page = browser.new_page(viewport=SIZE)
        page.set_default_timeout(SECONDS)
        draw_cards(page, server.url, records[:6])
        page.screenshot(path=chosen.out / "serve-page.png")
        page = browser.new_page(viewport=SIZE)
        page.set_default_timeout(SECONDS)
        draw_comparison(page, server.url, records)
        page.screenshot(path=chosen.out / "serve-compare.png")


def draw_cards(page: Any, url: str, records: list[CaptionRecord]) -> None:
    """Caption images with alternatives, and edit one caption."""
    page.goto(url)
    page.wait_for_selector("#model option", state="attached")
    page.click("#open-settings")
    page.fill("#captions", "3")
    page.click("#settings-form button[type=submit]")
    page.set_input_files("#files", files(records))
    page.wait_for_function(
        "count => document.querySelectorAll('#cards > [data-status=done]').length === count",
        arg=len(records),
    )
    field = page.locator("#cards textarea").nth(1)
    field.fill(f"{field.input_value()}, on a pale sheet")
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")


def draw_comparison(page: Any, url: str, records: list[CaptionRecord]) -> None:
    """Compare the models blindly, vote for true captions, and show the result."""
    page.goto(f"{url}/#compare")
    page.wait_for_selector("#model-b option", state="attached")
    page.set_input_files("#files", files(records))
    page.click("#compare-start")
    page.wait_for_function(
        "count => document.querySelectorAll('#pairs .caption-text').length === 2 * count",
        arg=len(records),
    )
    for place, record in enumerate(records):
        pair = page.locator("#pairs > li").nth(place)
        first, second = (
            caption_is_true(record.image_id, text)
            for text in pair.locator(".caption-text").all_inner_texts()
        )
        word = "tie" if first == second else "first" if first else "second"
        if pair.locator(".ballot").count():
            pair.locator(f"[data-vote={word}]").click()
    page.click("#reveal")
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")


def files(records: list[CaptionRecord]) -> list[dict[str, Any]]:
    """Return images for a file input."""
    return [
        {"name": f"scene-{number:02}.png", "mimeType": "image/png", "buffer": record.image}
        for number, record in enumerate(records, 1)
    ]


if __name__ == "__main__":
    main()
