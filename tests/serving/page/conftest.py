"""A browser, a server with two stubs, and one that needs a key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.bulk.stub_captioner import write_stub
from support.serving.browser import KEY, chromium
from support.serving.live_server import LiveServer, live_server


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Run Chromium."""
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def page_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Run a server with the stubs `one` and `two`, whose captions differ."""
    folder = tmp_path_factory.mktemp("page")
    write_stub(folder / "one")
    write_stub(folder / "two", seed=1)
    with live_server(folder, ["one", "two"]) as running:
        yield running


@pytest.fixture(scope="module")
def locked_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Run a server that needs `KEY`."""
    folder = tmp_path_factory.mktemp("locked")
    write_stub(folder / "one")
    (folder / "keys").write_text(f"{KEY}\n")
    with live_server(folder, ["one"], "--api-key-file", "keys") as running:
        yield running


@pytest.fixture
def open_page(browser: Any) -> Iterator[Any]:
    """Return a function that opens a server's page in a browser of its own.

    The test fails if a script failed, or the page asked another server for anything.
    """
    contexts, faults = [], []

    def open_it(server: LiveServer, place: str = "/", **settings: Any) -> Any:
        context = browser.new_context(accept_downloads=True, **settings)
        context.set_default_timeout(20_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda sent: _check_address(sent.url, server, faults))
        page.goto(server.url + place)
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert faults == []


def _check_address(url: str, server: LiveServer, faults: list[str]) -> None:
    if not url.startswith((server.url, "blob:", "data:")):
        faults.append(f"asked {url}")


@pytest.fixture
def page(open_page: Any, page_server: LiveServer) -> Any:
    """Return the page of the server with two models."""
    return open_page(page_server)


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """Return a folder for files that a test downloads."""
    return tmp_path
