"""A hub data set without a network: one quick attempt, and an error that says what to check."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

_PROGRAM = """
import time
import datasets
from captune.data import load_records
from captune.errors import DataError
began = time.monotonic()
try:
    load_records("tiny/brids")
except DataError as error:
    print(error.what, error.fix, sep="\\n")
print(time.monotonic() - began)
"""


@pytest.mark.slow
def test_a_hub_that_does_not_answer_is_asked_once(tmp_path):
    (tmp_path / "hub" / "datasets--tiny--birds").mkdir(parents=True)
    with socket.socket() as taken:
        # Bound but not listening: every connection is refused.
        taken.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
        environment = {k: v for k, v in os.environ.items() if k != "HF_HUB_OFFLINE"}
        asked = subprocess.run(
            [sys.executable, "-c", _PROGRAM],
            env={**environment, "HF_HOME": str(tmp_path), "HF_ENDPOINT": endpoint},
            capture_output=True,
            text=True,
            check=True,
        )
    what, fix, seconds = asked.stdout.strip().split("\n")
    assert "not in the cache (did you mean 'tiny/birds'?)" in what
    assert f"the hub at {endpoint} does not answer: Connection refused" in what
    assert fix.startswith("check the spelling; check the connection")
    assert fix.endswith("on your own images: captune run demo --set data.path=MY_FOLDER")
    # The client alone waits 25 to 60 s between its attempts.
    assert float(seconds) < 20
