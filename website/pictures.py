"""Take the pictures of the report in README and docs again, from a real run, with Chromium.

    captune demo
    python website/pictures.py runs/demo

The run must be one on the built-in data set: photographs of data sets must not be shown. Those of
the server's page are taken by website/serve_pictures.py.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from PIL import Image

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
SIZE = {"width": 1180, "height": 950}


def main() -> None:
    """Read the arguments and take both pictures."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run.resolve()
    source = json.loads((run / "data_check.json").read_text())["source"]
    if not source.startswith("shapes"):
        sys.exit(f"{run} shows images of {source}; only those of the built-in set may be published")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE)
        page.goto((run / "report.html").as_uri())
        take(page, IMAGES / "report.png")
        # Smooth scrolling would be in the picture.
        to_top = "{block: 'start', behavior: 'instant'}"
        page.evaluate(f"document.querySelector('#gallery').scrollIntoView({to_top})")
        take(page, IMAGES / "report-images.png")
        browser.close()


def take(page: Any, picture: Path) -> None:
    """Write a screenshot with a palette of 256 colours, which suits pages and drawings."""
    # Images are decoded when they come into view.
    page.wait_for_timeout(1000)
    page.screenshot(path=picture)
    with Image.open(picture) as image:
        small = image.convert("RGB").quantize(256, kmeans=3, dither=Image.Dither.NONE)
    small.save(picture, optimize=True)


if __name__ == "__main__":
    main()
