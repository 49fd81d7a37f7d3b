"""What a user is told of each thing that a hub refuses, by the real client in its own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path

from support.hub.repos import HubServer

# One process for all cases: importing transformers takes longer than asking.
_LOOP = """
import json, os, sys, time
from captune.errors import CaptuneError

# The client waits 23 s in all before it asks a busy hub for the last time.
time.sleep = lambda seconds: None
told = {}
for name, (source, token, revision) in json.loads(sys.argv[1]).items():
    os.environ.pop("HF_TOKEN", None)
    if token:
        os.environ["HF_TOKEN"] = token
    try:
        told[name] = [ask(source, revision), ""]
    except CaptuneError as error:
        told[name] = [error.what, error.fix]
print(json.dumps(told))
"""


@dataclass(frozen=True)
class Asked:
    """One thing asked for: a hub id, with whose token, at which revision."""

    source: str
    token: str | None = None
    revision: str | None = None


def collect_refusals(
    hub: HubServer, home: Path, *, ask: str, cases: Mapping[str, Asked]
) -> dict[str, tuple[str, str]]:
    """Each case's error and what it says to do; what `ask` gave and "" where it was not refused.

    Args:
        hub: The server.
        home: HF_HOME of the process.
        ask: Source of a function `ask(source, revision)`.
        cases: What is asked for.
    """
    asked = json.dumps({name: astuple(case) for name, case in cases.items()})
    done = subprocess.run(
        [sys.executable, "-c", ask + _LOOP, asked],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **hub.environment(home, None)},
    )
    return {name: tuple(pair) for name, pair in json.loads(done.stdout.splitlines()[-1]).items()}
