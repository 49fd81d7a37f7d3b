"""A server with a fast stub, shared by the tests of a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.bulk.stub_captioner import write_stub
from support.serving.live_server import LiveServer, live_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Run a server whose only model is a fast stub called `stub`."""
    folder: Path = tmp_path_factory.mktemp("serving")
    write_stub(folder / "stub")
    with live_server(folder, ["stub"]) as running:
        yield running
