"""Pushing as a user's machine does: huggingface_hub brings hf_xet, which then moves large files."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from support.hub.repos import HubServer

# Not `captune push`, which loads the model: no compression may shrink what the server of the tests
# receives, and a model's file always shrinks.
PUSH = """
import sys
from pathlib import Path
from captune.errors import CaptuneError
from captune.hub import RepoFile, open_repo, push_files

file = RepoFile("model.safetensors", Path(sys.argv[1]))
try:
    push_files(open_repo("me/mine", private=False), [file], message="Push")
except CaptuneError as error:
    print(error, file=sys.stderr)
    sys.exit(2)
"""


@pytest.fixture
def weights(run: Path) -> bytes:
    """Half a megabyte that no compression shrinks."""
    content = random.Random(0).randbytes(500_000)
    (run / "model" / "model.safetensors").write_bytes(content)
    return content


def push(run: Path, hub: HubServer, home: Path) -> subprocess.CompletedProcess[str]:
    # In its own process: the client reads its environment once, and keeps one session.
    return subprocess.run(
        [sys.executable, "-c", PUSH, run / "model" / "model.safetensors"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **hub.environment(home), "HF_HUB_DISABLE_XET": "0"},
    )


@pytest.mark.slow
def test_weights_are_uploaded_by_xet_by_default(
    hub: HubServer, run: Path, weights: bytes, tmp_path: Path
) -> None:
    pushed = push(run, hub, tmp_path / "home")
    assert pushed.returncode == 0, pushed.stderr
    assert hub.repos["models/me/mine"].files["model.safetensors"] == weights
    assert hub.asked("POST /v1/xorbs")
    assert not hub.asked("/lfs/")


@pytest.mark.slow
def test_a_refusal_by_xet_is_reported_and_the_push_can_be_repeated(
    hub: HubServer, run: Path, weights: bytes, tmp_path: Path
) -> None:
    hub.refusals.append(("POST /v1/xorbs", 403))
    refused = push(run, hub, tmp_path / "home")
    assert refused.returncode == 2
    assert "cannot push to me/mine" in refused.stderr
    assert "403" in refused.stderr
    assert "run the same command to try again" in refused.stderr
    assert set(hub.repos["models/me/mine"].files) == {".gitattributes"}
    hub.refusals.clear()
    assert push(run, hub, tmp_path / "home").returncode == 0
    assert hub.repos["models/me/mine"].files["model.safetensors"] == weights
