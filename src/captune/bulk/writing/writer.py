"""The thread that writes: groups of captioned images become files, rows and commits.

For each group, one transaction commits the captions, the rows of collected outputs, the intents to
change files, and the changes that the group before has made. So the model does not wait for a
sync, and a group costs one commit.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from captune.bulk.formats.interface import CollectedFormat
from captune.bulk.formats.tar_shards import TarShards
from captune.bulk.items import CaptionedItem, Item
from captune.bulk.journal.changes import (
    RecordedChange,
    drop_intent,
    record_done,
    record_intents,
    record_kept,
)
from captune.bulk.journal.database import Database
from captune.bulk.journal.names import image_key
from captune.bulk.journal.results import (
    CollectedState,
    clear_failures,
    record_captions,
    record_collected,
    record_failure,
    record_files,
)
from captune.bulk.journal.runs import JournalRun
from captune.bulk.writing.per_image import FileWriter, ReadyChange, Written
from captune.bulk.writing.tasks import CaptionTask, Outcome
from captune.errors import CaptuneError, ImageError
from captune.records import Prediction

_GROUP_ROWS, _GROUP_BYTES, _GROUP_SECONDS = 64, 64_000_000, 0.5
_QUEUE_ROWS = 256
_ERRORS = (CaptuneError, OSError, ValueError, RuntimeError, LookupError, TypeError, MemoryError)


class WritingError(Exception):
    """A bug of captune's in the thread that writes, not a fault of the model or an image."""


@dataclass(frozen=True, slots=True)
class WriteJob:
    """A settled task, with its final caption; `None`: it failed."""

    task: CaptionTask
    final: Prediction | None


@dataclass(slots=True)
class _Group:
    """What one transaction commits."""

    jobs: list[WriteJob]
    changes: list[tuple[WriteJob, ReadyChange]] = field(default_factory=list)
    failed: list[tuple[Item, ImageError]] = field(default_factory=list)
    kept: list[tuple[WriteJob, str]] = field(default_factory=list)

    def done(self) -> list[WriteJob]:
        """Return the jobs that did not fail."""
        failed = {item.name for item, _ in self.failed}
        return [job for job in self.jobs if job.task.item.name not in failed]


class ResultWriter:
    """Accepts settled tasks and makes their results durable, in a thread of its own."""

    def __init__(
        self,
        database: Database,
        run: JournalRun,
        *,
        files: FileWriter,
        collected: Mapping[str, CollectedFormat],
        outcome: Outcome,
    ) -> None:
        """Start the thread."""
        self._database, self._run, self._files = database, run, files
        self._collected, self._outcome = collected, outcome
        self._replaces = run.existing == "overwrite"
        self._queue: queue.Queue[WriteJob | None] = queue.Queue(_QUEUE_ROWS)
        self._carried: list[tuple[Item, RecordedChange, Written]] = []
        self._error: BaseException | None = None
        self._has_all = False
        self._thread = threading.Thread(target=self._work, name="captune-writer", daemon=True)
        self._thread.start()

    def put(self, job: WriteJob) -> None:
        """Hand over a settled task; wait while the disk is behind.

        Raises:
            OutputError: An earlier one could not be written.
            WritingError: The thread failed for another reason.
        """
        while True:
            self._raise_error()
            try:
                self._queue.put(job, timeout=0.2)
                return
            except queue.Full:
                continue

    def close(self) -> None:
        """Write all that was handed over, and end the thread.

        Raises:
            OutputError: Something could not be written.
            WritingError: The thread failed for another reason.
        """
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        self._files.close()
        self._raise_error()

    def _raise_error(self) -> None:
        if isinstance(self._error, CaptuneError):
            raise self._error
        if self._error is not None:
            raise WritingError(repr(self._error)) from self._error

    def _work(self) -> None:
        is_complete = False
        try:
            while self._write_next():
                pass
            is_complete = True
        # Errors of the disk, the journal or a format's input; the main thread raises them.
        except _ERRORS as error:
            self._error = error
        finally:
            # Whatever ended this thread, the main one neither waits for it nor calls it complete.
            if not is_complete:
                self._error = self._error or sys.exc_info()[1]
                self._drain()

    def _drain(self) -> None:
        """Take jobs until the end, so that `put` and `close` do not wait forever."""
        # The end may have arrived already, with the group that failed.
        while not self._has_all:
            self._take()

    def _write_next(self) -> bool:
        """Write one group; return whether more may come."""
        jobs, more = self._gather()
        if jobs:
            self._write(_Group(jobs))
        if not more or (self._carried and self._queue.empty()):
            self._commit_carried()
        return more

    def _gather(self) -> tuple[list[WriteJob], bool]:
        first = self._take()
        if first is None:
            return [], False
        jobs, size, until = [first], first.task.item.size or 0, time.monotonic() + _GROUP_SECONDS
        while len(jobs) < _GROUP_ROWS and size < _GROUP_BYTES:
            try:
                job = self._take(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            if job is None:
                return jobs, False
            jobs.append(job)
            size += job.task.item.size or 0
        return jobs, True

    def _take(self, timeout: float | None = None) -> WriteJob | None:
        job = self._queue.get(timeout=timeout)
        self._has_all = job is None
        return job

    def _write(self, group: _Group) -> None:
        self._plan(group)
        states = {name: self._add_rows(name, group) for name in self._collected}
        with self._database.transaction():
            self._record_carried()
            self._record_results(group, states)
            planned = [
                replace(ready.planned, name=image_key(job.task.item, self._database.folder))
                for job, ready in group.changes
            ]
            numbers = record_intents(
                self._database, planned, run=self._run.number, recipe=self._run.recipe
            )
        self._carried = []
        recorded = [
            RecordedChange(number, self._run.number, self._run.recipe, change)
            for number, change in zip(numbers, planned, strict=True)
        ]
        written = self._files.apply([ready for _, ready in group.changes])
        items = [job.task.item for job, _ in group.changes]
        self._carried = list(zip(items, recorded, written, strict=True))
        for (job, ready), state in zip(group.changes, written, strict=True):
            if isinstance(state, ImageError):
                group.failed.append((job.task.item, state))
            elif state is None:
                group.kept.append((job, str(ready.planned.target)))
        self._count(group)

    def _plan(self, group: _Group) -> None:
        for job in group.jobs:
            if job.final is None:
                group.failed.append((job.task.item, job.task.error or ImageError("unknown")))
                continue
            captioned = CaptionedItem(job.task.item, job.final)
            for form, found in job.task.targets.items():
                ready, error = self._files.plan_or_fall_back(form, captioned, found=found)
                if error is not None:
                    group.failed.append((job.task.item, error))
                if ready is not None:
                    group.changes.append((job, ready))
                elif error is None:
                    group.kept.append((job, f"{job.task.item.name} ({form})"))

    def _add_rows(self, name: str, group: _Group) -> tuple[bytes, list[str]] | None:
        rows = [
            CaptionedItem(job.task.item, job.final)
            for job in group.jobs
            if job.final is not None and name in job.task.collected
        ]
        if not rows:
            return None
        form = self._collected[name]
        state = form.add(rows)
        missing = frozenset(form.missing if isinstance(form, TarShards) else ())
        for row in rows:
            if row.item.name in missing:
                error = ImageError("io", where="it could not be read again for its shard")
                group.failed.append((row.item, error))
        return state, [row.item.name for row in rows if row.item.name not in missing]

    def _record_results(
        self, group: _Group, states: Mapping[str, tuple[bytes, list[str]] | None]
    ) -> None:
        database, run = self._database, self._run
        tasks = [job.task for job in group.jobs]
        record_captions(
            database,
            (
                (task.content, task.prediction)
                for task in tasks
                if task.is_new and task.content is not None and task.prediction is not None
            ),
            maker=run.maker,
            run=run.number,
        )
        record_files(database, _known_files(tasks))
        clear_failures(database, (job.task.item.name for job in group.done()))
        for item, error in group.failed:
            record_failure(database, item, error=error, run=run.number, maker=run.maker)
        for name, added in states.items():
            if added is not None:
                state, names = added
                found = CollectedState(run.number, state, False, self._replaces)
                record_collected(database, name, found=found, names=names, recipe=run.recipe)

    def _commit_carried(self) -> None:
        with self._database.transaction():
            self._record_carried()
        self._carried = []

    def _record_carried(self) -> None:
        database, run = self._database, self._run
        for item, recorded, state in self._carried:
            if isinstance(state, ImageError):
                drop_intent(database, recorded.number)
                record_failure(database, item, error=state, run=run.number, maker=run.maker)
            elif state is None:
                record_kept(database, recorded.number)
            else:
                record_done(database, recorded, state=state)

    def _count(self, group: _Group) -> None:
        num_kept: dict[int, int] = {}
        for job, text in group.kept:
            self._outcome.add_kept(text)
            num_kept[id(job)] = num_kept.get(id(job), 0) + 1
        for job in group.done():
            task = job.task
            if task.targets and not task.collected and num_kept.get(id(job)) == len(task.targets):
                self._outcome.num_skipped += 1
            else:
                self._outcome.num_done += 1
        for name, error in {item.name: error for item, error in group.failed}.items():
            self._outcome.add_failure(name, error)


def _known_files(tasks: Sequence[CaptionTask]) -> list[tuple[Item, bytes]]:
    """Return the files whose content is known, as they were when it was read."""
    return [
        (task.item, task.content)
        for task in tasks
        if task.content is not None and task.item.size is not None
    ]
