"""Commands that attack bulk captioning share a stub, a folder and a server of forks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.bulk.fork_server import ForkServer
from support.bulk.kills import CaptuneCommand
from support.bulk.stub_captioner import write_stub

Commands = Callable[..., CaptuneCommand]


@pytest.fixture(scope="package")
def server() -> Iterator[ForkServer]:
    with ForkServer() as started:
        yield started


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_stub(tmp_path / "model")


@pytest.fixture
def captune(tmp_path: Path, server: ForkServer) -> Commands:
    """Return a function that makes a command in `tmp_path`; `is_alone`: in a Python of its own."""

    def make(*words: object, is_alone: bool = False) -> CaptuneCommand:
        more = [] if "--decode" in words or words[0] != "caption" else ["--decode", "inline"]
        backend = ["--backend", "torch"] if words[0] == "caption" else []
        return CaptuneCommand(
            [*words, *more, *backend],
            folder=tmp_path,
            environment={"CAPTUNE_CACHE": str(tmp_path / "cache")},
            server=None if is_alone else server,
        )

    return make
