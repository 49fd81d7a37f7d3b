"""The page of a run, written here or, while the run works, by a process of its own.

A run that works neither waits for its page nor keeps the memory of templates and charts.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from captune.bulk.page.watch import RunCounts, RunWatch
from captune.data import child_command
from captune.errors import OutputError
from captune.stopping import ignore_signals


@dataclass(frozen=True, slots=True)
class PageContent:
    """What a page shows; it can be sent to another process.

    Attributes:
        path: The file.
        watch: What was recorded of the run.
        title: Name of the run.
        counts: Number of images by outcome.
        facts: Fields of each `Fact` shown at the end.
    """

    path: Path
    watch: RunWatch
    title: str
    counts: RunCounts
    facts: tuple[tuple[str, str, bool], ...]

    def write(self) -> None:
        """Write the page.

        Raises:
            OutputError: The file cannot be written.
        """
        # Pages need templates and charts, which a run of a few images does not load.
        from captune.bulk.page.build import write_run_page
        from captune.evaluation import Fact

        facts = [Fact(*fields) for fields in self.facts]
        write_run_page(self.path, self.watch, title=self.title, counts=self.counts, facts=facts)


def start_writing(content: PageContent) -> subprocess.Popen[bytes] | None:
    """Start the process that writes a page; `None`: it cannot be started."""
    quiet = subprocess.DEVNULL
    command = child_command(f"{__name__}:write_received", None)
    try:
        # A file, because a pipe makes the run wait until the process reads it.
        with tempfile.TemporaryFile() as sent:
            pickle.dump(content, sent)
            sent.seek(0)
            return subprocess.Popen(command, stdin=sent, stdout=quiet, stderr=quiet)
    except OSError:
        return None


def write_received() -> None:
    """Write the page that arrives on stdin: what the process does."""
    ignore_signals()
    content: PageContent = pickle.load(sys.stdin.buffer)
    with suppress(OutputError):
        content.write()
