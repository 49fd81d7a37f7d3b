"""The page of a run that has finished, from what is open at its end."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from captune.bulk.page.watch import RunWatch
from captune.bulk.state.run_state import OpenRun
from captune.bulk.writing.tasks import Outcome
from captune.errors import OutputError

# A page of fewer images shows nothing that the screen does not.
_MIN_IMAGES = 20


def watch_run(outcome: Outcome) -> RunWatch:
    """Return a watch that also looks at the failures that an outcome counts."""
    watch = RunWatch()
    outcome.on_failure = lambda name, error: watch.fail(name, error, image=Path(name))
    return watch


def write_page_of(watch: RunWatch, opened: OpenRun, *, hardware: str) -> str:
    """Write the page of a finished run, and return its path; empty: it had few images.

    A page that cannot be written costs no captions, so that is no error.
    """
    outcome = opened.outcome
    if watch.num_captions + watch.num_failures < _MIN_IMAGES:
        return ""
    # Pages need templates and charts, which a run of a few images does not load.
    from captune.bulk.page.build import RunCounts, write_run_page
    from captune.evaluation import Fact

    counts = RunCounts(outcome.num_found, outcome.num_done, outcome.num_skipped, outcome.num_failed)
    facts = [
        Fact("Model", str(opened.facts.model.get("model", ""))),
        Fact("Hardware", hardware),
        Fact("Outputs", ", ".join((*opened.per_image, *opened.collected))),
        Fact("Generated captions", f"{outcome.num_generated:,}"),
        Fact("Reused captions", f"{outcome.num_reused:,}"),
        Fact("Command", opened.facts.command, is_code=True),
        Fact("Undo", f"captune undo {opened.run.id}", is_code=True),
    ]
    page = opened.place.page
    with suppress(OutputError):
        write_run_page(
            page,
            watch,
            title=str(opened.place.folder.absolute().name or "captions"),
            counts=counts,
            facts=[fact for fact in facts if fact.value],
        )
        return str(page)
    return ""
