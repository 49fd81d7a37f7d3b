"""What most tests of bulk captioning start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.bulk.stub_captioner import write_stub


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stub captioner; the runs of the test are known in a cache of their own."""
    monkeypatch.setenv("CAPTUNE_CACHE", str(tmp_path / "cache"))
    return write_stub(tmp_path / "model")
