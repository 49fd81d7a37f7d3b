"""A browser, and pages to open in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.places import ROOT
from support.report_pages import Pages, write_pages
from support.serving.browser import chromium

AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
_RUN_AXE = """() => axe.run(document, {resultTypes: ['violations']}).then(({violations}) =>
  violations.filter(({impact}) => impact === 'serious' || impact === 'critical')
    .map(({id, nodes}) => `${id}: ${nodes.map(({target}) => target.join(' ')).join(', ')}`))"""


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    """Write both pages once."""
    return write_pages(tmp_path_factory.mktemp("report-pages"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Run Chromium."""
    with chromium() as running:
        yield running


@pytest.fixture
def open_page(browser: Any) -> Iterator[Any]:
    """Return a function that opens a page from the disk.

    The test fails if a script failed, or the page asked for anything but files and data.
    """
    contexts, faults = [], []

    def open_it(path: Path, place: str = "", **settings: Any) -> Any:
        context = browser.new_context(accept_downloads=True, **settings)
        context.set_default_timeout(20_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda sent: faults.extend(_strange(sent.url)))
        page.goto(f"file://{path}{place}")
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert faults == []


def _strange(url: str) -> list[str]:
    return [] if url.startswith(("file:", "data:", "blob:")) else [url]


@pytest.fixture(scope="session")
def serious_findings() -> Any:
    """Return a function that returns what axe finds serious in a page."""
    if not AXE.is_file():
        pytest.skip("no axe-core: npm install --no-save axe-core")
    source = AXE.read_text(encoding="utf-8")

    def check(page: Any) -> list[str]:
        page.evaluate(f"() => {{ {source} }}")
        found: list[str] = page.evaluate(_RUN_AXE)
        return found

    return check
