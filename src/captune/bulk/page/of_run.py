"""Write the page of a run every ten minutes while it works, and at its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from captune.bulk.page.watch import RunWatch
from captune.bulk.state.run_state import OpenRun
from captune.bulk.writing.tasks import Outcome
from captune.errors import OutputError

if TYPE_CHECKING:
    from captune.evaluation import Fact

# With fewer images, a page shows nothing that the screen does not.
_MIN_IMAGES = 20
# Writing takes about a second. A stop must take less than five, so it keeps the last page.
_SECONDS_BETWEEN = 600.0


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

    def renew(self) -> None:
        """Write the page again if the last one is old."""
        if time.monotonic() - self._last >= _SECONDS_BETWEEN:
            self.write(is_over=False)
            self._last = time.monotonic()

    def write(self, *, is_over: bool) -> str:
        """Write the page, and return its path; empty: there are too few images, or it failed.

        A page that cannot be written costs no captions, so that is not an error.
        """
        watch, opened = self.watch, self.opened
        if watch.num_captions + watch.num_failures < _MIN_IMAGES:
            return ""
        # Pages need templates and charts, which a run of a few images does not load.
        from captune.bulk.page.build import RunCounts, write_run_page

        outcome, page = opened.outcome, opened.place.page
        with suppress(OutputError):
            write_run_page(
                page,
                watch,
                title=str(opened.place.folder.absolute().name or "captions"),
                counts=RunCounts(
                    outcome.num_found, outcome.num_done, outcome.num_skipped, outcome.num_failed
                ),
                facts=_facts(opened, hardware=self.hardware(), is_over=is_over),
            )
            return str(page)
        return ""


def watch_run(outcome: Outcome) -> RunWatch:
    """Return a watch that also records the failures that an outcome counts."""
    watch = RunWatch()
    outcome.on_failure = lambda name, error: watch.fail(name, error, image=Path(name))
    return watch


def _facts(opened: OpenRun, *, hardware: str, is_over: bool) -> list[Fact]:
    from captune.evaluation import Fact

    outcome = opened.outcome
    facts = [
        Fact("State", "" if is_over else f"not finished at {time.strftime('%Y-%m-%d %H:%M')}"),
        Fact("Model", str(opened.facts.model.get("model", ""))),
        Fact("Hardware", hardware),
        Fact("Outputs", ", ".join((*opened.per_image, *opened.collected))),
        Fact("Generated captions", f"{outcome.num_generated:,}"),
        Fact("Reused captions", f"{outcome.num_reused:,}"),
        Fact(
            "All failures", str(opened.place.failures) if outcome.num_failed else "", is_code=True
        ),
        Fact("Command", opened.facts.command, is_code=True),
        Fact("Undo", f"captune undo {opened.run.id}", is_code=True),
    ]
    return [fact for fact in facts if fact.value]
