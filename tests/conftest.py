"""What all tests share: no network, and real data only where CAPTUNE_REAL_DATA names it."""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.hub.repos import WRITER, HubServer
from support.hub.server import hub_server
from support.places import REAL_DATA
from support.syncing import skip_syncing

# Before transformers or datasets is imported: a test that connects to the hub fails at once.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Read when gcsfs is imported, by whichever test is the first: otherwise it asks for the kind of
# each bucket over gRPC, which the emulator does not answer.
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")

skip_syncing()

_LOCAL = ("127.", "::1", "localhost", "0.0.0.0")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests that this machine cannot run, with the reason."""
    for item in items:
        if item.get_closest_marker("real_data") and not REAL_DATA.is_dir():
            item.add_marker(pytest.mark.skip(reason="set CAPTUNE_REAL_DATA to use real data"))
        if item.get_closest_marker("network") and not os.environ.get("CAPTUNE_NETWORK"):
            item.add_marker(pytest.mark.skip(reason="set CAPTUNE_NETWORK=1 to use the internet"))
        if item.get_closest_marker("gpu") and not _has_accelerator():
            item.add_marker(pytest.mark.skip(reason="no accelerator"))
    _long_files_first(items)


def _long_files_first(items: list[pytest.Item]) -> None:
    """Order files by longest time limit, then size: no process ends with a long one.

    Long tests in files with few tests state their limit, also where it is the default.
    """
    limit: dict[Path, float] = {}
    size = Counter(item.path for item in items)
    for item in items:
        marks = [mark.args[0] for mark in item.iter_markers("timeout")]
        limit[item.path] = max([limit.get(item.path, 0.0), *marks])
    items.sort(key=lambda item: (-limit[item.path], -size[item.path], item.path))


_FEW_MODULES = 100
_num_frozen_modules = [0]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Take what is loaded out of garbage collection, which is complete once or more per training.

    Tests import most of torch and transformers: again, whenever they have imported much.
    """
    if len(sys.modules) > _num_frozen_modules[0] + _FEW_MODULES:
        gc.collect()
        gc.freeze()
        _num_frozen_modules[0] = len(sys.modules)


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup() -> None:
    """Give a fixture the same random weights whatever ran before it in its process.

    Some weights end every caption at once: a test would pass or fail by chance.
    """
    _seed_torch()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call() -> None:
    """Do the same for the test itself."""
    _seed_torch()


def _seed_torch() -> None:
    # Not loaded yet, it starts from a seed of its own, which is always the same.
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


def _has_accelerator() -> bool:
    import torch

    return torch.accelerator.is_available()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real photographs, captions and weights; for tests marked `real_data`."""
    return REAL_DATA


@pytest.fixture(autouse=True)
def _no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "network" in request.keywords:
        return
    connect = socket.socket.connect

    def connect_locally(self: socket.socket, address: Any) -> None:
        is_local = isinstance(address, str | bytes) or str(address[0]).startswith(_LOCAL)
        if not is_local:
            raise AssertionError(f"a test without the network mark connects to {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_locally)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """Run a hub on loopback for the real client in this process."""
    from huggingface_hub import constants

    with hub_server() as server:
        # The client reads its environment when it is imported, which has already happened.
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        files = constants.HUGGINGFACE_CO_URL_TEMPLATE.partition("/{repo_id}")
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "".join(files[1:])
        )
        monkeypatch.setattr("transformers.utils.hub._hf_api", None)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_TOKEN", WRITER)
        yield server


@pytest.fixture
def full_disk() -> Callable[[int], AbstractContextManager[None]]:
    """Return a context that limits the size of this process's files, as a full disk does.

    It must not last longer than the writer: pytest's own output may be a file.
    """
    resource = pytest.importorskip("resource", reason="Windows has no limit of file sizes")

    @contextmanager
    def limit(size: int) -> Iterator[None]:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        # The signal would end the process before the writer sees an error.
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, handler)

    return limit
