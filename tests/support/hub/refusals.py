"""The error of each refusal of a hub, from the real client in its own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path

from support.hub.repos import HubServer

# One process for all cases: importing transformers takes longer than the requests.
_LOOP = """
import json, os, sys, time
from captune.errors import CaptuneError

# The client waits 23 s in total before its last request to a busy hub.
time.sleep = lambda seconds: None
results = {}
for name, (source, token, revision) in json.loads(sys.argv[1]).items():
    os.environ.pop("HF_TOKEN", None)
    if token:
        os.environ["HF_TOKEN"] = token
    try:
        results[name] = [ask(source, revision), ""]
    except CaptuneError as error:
        results[name] = [error.what, error.fix]
print(json.dumps(results))
"""


@dataclass(frozen=True)
class Asked:
    """A request: a hub id, a token and a revision."""

    source: str
    token: str | None = None
    revision: str | None = None


def collect_refusals(
    hub: HubServer, home: Path, *, ask: str, cases: Mapping[str, Asked]
) -> dict[str, tuple[str, str]]:
    """Return the error and the fix of each case; the result of `ask` and "" if it is not refused.

    Args:
        hub: The server.
        home: HF_HOME of the process.
        ask: Source of a function `ask(source, revision)`.
        cases: The requests.
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
