"""What a run holds open: the lock, the journal, its outputs, and the thread that writes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from captune.bulk.feed.name_clashes import NameGuard, refuse_read_only
from captune.bulk.feed.needs import Needs
from captune.bulk.formats import open_collected, open_per_image
from captune.bulk.formats.interface import CollectedFormat, PerImageFormat
from captune.bulk.journal.changes import settle_intents
from captune.bulk.journal.database import Database
from captune.bulk.journal.known import count_failures, list_failures
from captune.bulk.journal.results import clear_failures
from captune.bulk.journal.runs import (
    JournalRun,
    RunState,
    begin_run,
    drop_empty_runs,
    end_run,
    intern_settings,
    last_run,
)
from captune.bulk.settings import BulkSettings, ChosenOutputs
from captune.bulk.state.collected import finish_output, open_output
from captune.bulk.state.index import note_run
from captune.bulk.state.maker import Maker, identity, refuse_other_makers
from captune.bulk.state.place import JournalPlace, hold, refuse_held
from captune.bulk.state.remote import remote_of
from captune.bulk.writing.per_image import FileWriter
from captune.bulk.writing.tasks import Outcome
from captune.bulk.writing.writer import ResultWriter
from captune.errors import CaptuneError, OutputError
from captune.storage import write_jsonl


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a run is recorded with.

    Attributes:
        model: The model's name, revision and digest.
        command: The command line, for the journal.
    """

    model: Maker
    command: str = ""


@dataclass(slots=True)
class OpenRun:
    """A run with a journal.

    Attributes:
        place: Where the journal is.
        database: The journal.
        run: The run in it.
        per_image: Formats of one file per image.
        collected: Collected formats, open.
        outcome: Counts.
        facts: What the run is recorded with.
        unknown: An output with captions of an unrecorded maker; `None`: there is none.
        writer: The thread that writes; `None`: nothing to write yet.
        was_killed: Whether the last run was killed.
        copies: What was copied to object storage, as URLs.
        is_complete: Whether all outputs are complete.
    """

    place: JournalPlace
    database: Database
    run: JournalRun
    per_image: Mapping[str, PerImageFormat]
    collected: Mapping[str, CollectedFormat]
    outcome: Outcome
    facts: RunFacts
    unknown: CollectedFormat | None = None
    writer: ResultWriter | None = None
    was_killed: bool = False
    copies: list[str] = field(default_factory=list)
    is_complete: bool = field(default=False)

    def begin(self) -> ResultWriter:
        """Start the thread that writes; called once there is something to write.

        Raises:
            OutputError: Rows would be added to those of an unknown model.
        """
        if self.unknown is not None:
            raise OutputError(
                f"{self.unknown.path} has no record of the model and decoding that made its"
                " captions",
                where="--out",
                fix="write the new captions to another --out, or caption all again with --force",
            )
        files = FileWriter(self.per_image, existing=self.run.existing)
        self.writer = ResultWriter(
            self.database, self.run, files=files, collected=self.collected, outcome=self.outcome
        )
        return self.writer

    def forget_failures(self, names: Sequence[str]) -> None:
        """Take images off the list of failures, because somebody else wrote their captions."""
        with self.database.transaction():
            clear_failures(self.database, names)

    def finish(self) -> None:
        """Complete the outputs, after the last image.

        Raises:
            OutputError: Something cannot be written.
        """
        if self.writer is not None:
            self.writer.close()
        for form in self.collected.values():
            finish_output(form, self.database, run=self.run, place=self.place)
        remote = remote_of(self.place)
        if remote is not None:
            self.copies += remote.push(_finished_files(self.collected.values()))
        self.is_complete = True


@contextmanager
def open_run(
    outputs: ChosenOutputs,
    settings: BulkSettings,
    *,
    place: JournalPlace,
    facts: RunFacts,
    outcome: Outcome,
) -> Iterator[OpenRun]:
    """Lock the outputs and open the journal; settle the intents that a kill left.

    Raises:
        OutputError: An output cannot be written, is held by another run, or holds captions of
            another model or decoding.
    """
    if outputs.per_image:
        refuse_read_only(place.folder)
    files = [path for _, path in outputs.collected]
    with hold(place, shard=settings.feed.share, files=files):
        database = Database(place.database)
        try:
            for path in settle_intents(database):
                outcome.add_kept(str(path))
            remote = remote_of(place, settings.out)
            if remote is not None:
                remote.pull(outputs)
            with _opened(
                database, outputs, settings, place=place, facts=facts, outcome=outcome
            ) as opened:
                yield opened
        finally:
            is_empty = False
            with suppress(CaptuneError):
                is_empty = drop_empty_runs(database)
            database.close()
            if is_empty:
                place.database.unlink(missing_ok=True)


@contextmanager
def _opened(
    database: Database,
    outputs: ChosenOutputs,
    settings: BulkSettings,
    *,
    place: JournalPlace,
    facts: RunFacts,
    outcome: Outcome,
) -> Iterator[OpenRun]:
    recipe = recipe_of(facts.model, settings)
    maker = maker_of(facts.model, settings)
    existing = settings.existing or "skip"
    forms = [open_collected(name, path) for name, path in outputs.collected]
    is_known = dict.fromkeys(outputs.names, True)
    if settings.existing is None:
        is_known = refuse_other_makers(database, recipe, outputs=outputs, folder=place.folder)
    last = last_run(database)
    run = begin_run(
        database,
        outputs.names,
        maker=intern_settings(database, maker, identity=identity(maker)),
        recipe=intern_settings(database, recipe, identity=identity(recipe)),
        existing=existing,
        command=facts.command,
    )
    opened = OpenRun(
        place,
        database,
        run,
        {name: open_per_image(name, naming=settings.naming) for name in outputs.per_image},
        {form.name: form for form in forms},
        outcome,
        facts,
        was_killed=last is not None and last.state == "running",
    )
    try:
        for form in forms:
            num_earlier = open_output(form, database, run=run, recipe=recipe)
            if num_earlier and not is_known[form.name]:
                opened.unknown = form
        yield opened
    finally:
        _close(opened)


def _close(opened: OpenRun) -> None:
    """End a run, complete or not: write what was handed over, and record how it ended."""
    try:
        if opened.writer is not None and not opened.is_complete:
            opened.writer.close()
    finally:
        for form in opened.collected.values():
            form.close()
        with suppress(CaptuneError):
            counts = {
                "found": opened.outcome.num_found,
                "done": opened.outcome.num_done,
                "skipped": opened.outcome.num_skipped,
                "failed": opened.outcome.num_failed,
            }
            state: RunState = "done" if opened.is_complete else "stopped"
            if opened.outcome.num_done:
                note_run(opened.run.id, opened.place.database)
            end_run(opened.database, opened.run, state=state, counts=counts)
            write_failures(opened.database, opened.place)


def _finished_files(forms: Iterable[CollectedFormat]) -> Iterator[Path]:
    """Yield the finished files of all runs: the copy of an earlier one may have failed."""
    for form in forms:
        if form.name == "webdataset":
            yield from sorted(form.path.glob("*.tar"))
        else:
            yield form.path


def write_failures(database: Database, place: JournalPlace) -> None:
    """Write the list of failed images; if there are none, delete an earlier list.

    Raises:
        OutputError: It cannot be written.
    """
    if count_failures(database):
        write_jsonl(place.failures, list_failures(database))
    else:
        place.failures.unlink(missing_ok=True)


def maker_of(model: Maker, settings: BulkSettings) -> dict[str, Any]:
    """Return what makes captions: model and decoding."""
    return {**model, "decoding": settings.decoding.model_dump()}


def recipe_of(model: Maker, settings: BulkSettings) -> dict[str, Any]:
    """Return what makes outputs: model, decoding and wording."""
    wording = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(settings.wording).items()
    }
    return {**maker_of(model, settings), "wording": wording}


def needs_of(opened: OpenRun | None, outputs: ChosenOutputs, *, settings: BulkSettings) -> Needs:
    """Return what decides which images need an output."""
    return Needs(
        {} if opened is None else opened.per_image,
        () if opened is None else tuple(opened.collected),
        settings.existing or "skip",
        None if opened is None else opened.run,
        has_stream=outputs.stream is not None,
    )


def guard_of(opened: OpenRun, settings: BulkSettings, *, inputs: Sequence[str]) -> NameGuard:
    """Return the guard against shared file names, and against folders that other runs hold."""
    return NameGuard(
        opened.per_image,
        folders=[text for text in inputs if os.path.isdir(text)],  # noqa: PTH112
        follow_links=settings.follow_links,
        database=opened.database,
        refuse_held=lambda folder: refuse_held(folder, but=opened.place, shard=settings.feed.share),
    )
