"""A real Chromium, and the actions of the page's tests in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.serving.pictures import png

KEY = "a-key-of-the-tests"


def find_chromium() -> Path | None:
    """Return the browser's program; `None`: this machine has none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    return None if found is None else Path(found)


@contextmanager
def chromium() -> Iterator[Any]:
    """Run a browser without a window; the test is skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=str(program), args=["--no-sandbox"])
        yield browser
        browser.close()


def image_files(numbers: Sequence[int], *, name: str = "photo-{}.png") -> list[dict[str, Any]]:
    """Return images for a file input; the numbers are those of `stub_caption`."""
    return [
        {"name": name.format(number), "mimeType": "image/png", "buffer": png(number)}
        for number in numbers
    ]


def add(page: Any, files: Any, *, done: int | None = None) -> None:
    """Pick files and wait until as many cards as files have ended."""
    page.set_input_files("#files", files)
    wait_ended(page, len(files) if done is None else done)


def wait_ended(page: Any, count: int) -> None:
    """Wait until this many cards have a caption or an error."""
    from playwright.sync_api import expect

    ended = page.locator("#cards > [data-status=done], #cards > [data-status=failed]")
    expect(ended).to_have_count(count, timeout=30_000)


def captions(page: Any) -> list[str]:
    """Return the captions in the cards' fields."""
    fields = page.locator("textarea.caption")
    return [fields.nth(place).input_value() for place in range(fields.count())]
