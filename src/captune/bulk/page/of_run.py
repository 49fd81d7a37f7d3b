"""The page of a run: renewed every ten minutes while it works, and written at its end."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from captune.bulk.page.process import PageContent, start_writing
from captune.bulk.page.watch import RunCounts, RunWatch
from captune.bulk.state.run_state import OpenRun
from captune.bulk.writing.tasks import Outcome
from captune.inference import ImageFile

if TYPE_CHECKING:
    from captune.evaluation import Fact

# With fewer images, a page shows nothing that the screen does not.
_MIN_IMAGES = 20
_SECONDS_BETWEEN = 600.0
# A stop must take less than five seconds.
_SECONDS_TO_END = 2.0


@dataclass(slots=True)
class RunPages:
    """Writes the page of a run from time to time, so that one exists after a stop or a kill.

    Attributes:
        watch: What was recorded of the run.
        opened: The run.
        hardware: Returns what runs the model.
    """

    watch: RunWatch
    opened: OpenRun
    hardware: Callable[[], str]
    _last: float = field(default_factory=time.monotonic)
    _writing: subprocess.Popen[bytes] | None = None

    def renew(self) -> None:
        """Have the page written again if the last one is old, without waiting for it."""
        if time.monotonic() - self._last < _SECONDS_BETWEEN or not self._has_enough():
            return
        if self._writing is None or self._writing.poll() is not None:
            self._writing = start_writing(self._content(is_over=False))
            self._last = time.monotonic()

    def finish(self) -> str:
        """Write the page of a complete run, and return its path.

        Empty: there are too few images, or the page cannot be written. That costs no captions, so
        it is not an error.
        """
        self.watch.stop()
        self.close()
        if not self._has_enough():
            return ""
        self._writing = start_writing(self._content(is_over=True))
        is_written = self._writing is not None and self._writing.wait() == 0
        return str(self.opened.place.page) if is_written else ""

    def close(self) -> None:
        """End the process that renews the page; it gets a moment to do so itself."""
        if self._writing is not None:
            with suppress(subprocess.TimeoutExpired):
                self._writing.wait(_SECONDS_TO_END)
            self._writing.kill()
            self._writing.wait()
            self._writing = None

    def _has_enough(self) -> bool:
        return self.watch.num_captions + self.watch.num_failures >= _MIN_IMAGES

    def _content(self, *, is_over: bool) -> PageContent:
        opened = self.opened
        outcome, place = opened.outcome, opened.place
        return PageContent(
            path=place.page,
            watch=self.watch,
            title=str(place.folder.absolute().name or "captions"),
            counts=RunCounts(
                outcome.num_found, outcome.num_done, outcome.num_skipped, outcome.num_failed
            ),
            facts=_facts(opened, hardware=self.hardware(), is_over=is_over),
        )


def watch_run(outcome: Outcome) -> RunWatch:
    """Return a watch that also records the failures that an outcome counts."""
    watch = RunWatch()
    outcome.on_failure = lambda name, error: watch.fail(name, error, image=ImageFile(name))
    return watch


def _facts(opened: OpenRun, *, hardware: str, is_over: bool) -> tuple[Fact, ...]:
    from captune.evaluation import Fact

    outcome = opened.outcome
    failures = str(opened.place.failures) if outcome.num_failed else ""
    facts = (
        Fact("State", "" if is_over else f"not finished at {time.strftime('%Y-%m-%d %H:%M')}"),
        Fact("Model", str(opened.facts.model.get("model", ""))),
        Fact("Hardware", hardware),
        Fact("Outputs", ", ".join((*opened.per_image, *opened.collected))),
        Fact("Generated captions", f"{outcome.num_generated:,}"),
        Fact("Reused captions", f"{outcome.num_reused:,}"),
        Fact("All failures", failures, is_code=True),
        Fact("Command", opened.facts.command, is_code=True),
        Fact("Undo", f"captune undo {opened.run.id}", is_code=True),
    )
    return tuple(fact for fact in facts if fact.value)
