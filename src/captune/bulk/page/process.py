"""A process of its own writes the page of a run.

A run that works does not wait for its page, and never has templates and charts in its memory.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from captune.bulk.page.watch import RunCounts, RunWatch
from captune.data import child_command
from captune.errors import OutputError
from captune.stopping import ignore_signals

if TYPE_CHECKING:
    from captune.evaluation import Fact


@dataclass(frozen=True, slots=True)
class PageContent:
    """What a page shows; it can be sent to another process.

    Attributes:
        path: The file.
        watch: What was recorded of the run.
        title: Name of the run.
        counts: Number of images by outcome.
        facts: Shown at the end.
    """

    path: Path
    watch: RunWatch
    title: str
    counts: RunCounts
    facts: tuple[Fact, ...]


def start_writing(content: PageContent) -> subprocess.Popen[bytes] | None:
    """Start the process that writes a page; `None`: it cannot be started."""
    quiet = subprocess.DEVNULL
    command = child_command(f"{__name__}:write_received", None)
    try:
        # A file, because a pipe makes the run wait until the process reads it.
        with tempfile.TemporaryFile() as sent:
            pickle.dump(content, sent, pickle.HIGHEST_PROTOCOL)
            sent.seek(0)
            return subprocess.Popen(command, stdin=sent, stdout=quiet, stderr=quiet)
    except (OSError, RuntimeError):
        # The thread that writes may note a failure while the content is copied: no page this time.
        return None


def write_received() -> None:
    """Write the page that arrives on stdin: what the process does; exit code 1: it cannot."""
    ignore_signals()
    # Only here: the run, which imports this module too, needs neither templates nor charts.
    from captune.bulk.page.build import write_run_page

    content: PageContent = pickle.load(sys.stdin.buffer)
    try:
        write_run_page(
            content.path,
            content.watch,
            title=content.title,
            counts=content.counts,
            facts=content.facts,
        )
    except OutputError:
        sys.exit(1)
