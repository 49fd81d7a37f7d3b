"""A bulk run: scan, skip what is done, caption, write, commit; resumable at any moment."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import IO, Protocol

from captune.bulk.captioning import Captioning, StreamCaptioner
from captune.bulk.cluster.captioner import RayCaptioner
from captune.bulk.feed.ordered import OrderedTasks
from captune.bulk.feed.planner import Planner
from captune.bulk.items import FoundItem
from captune.bulk.page import RunPages, watch_run
from captune.bulk.settings import BulkSettings, choose_outputs
from captune.bulk.sources.refusals import refuse_inputs
from captune.bulk.state.place import choose_place
from captune.bulk.state.remote import describe_copies
from captune.bulk.state.run_state import OpenRun, RunFacts, guard_of, needs_of, open_run
from captune.bulk.undo_forecast import forecast_undo
from captune.bulk.worker.captioner import WorkerCaptioner
from captune.bulk.worker.open_model import MAX_IN_PROCESS
from captune.bulk.writing.streams import CaptionLines, ReaderGoneError
from captune.bulk.writing.tasks import CaptionTask, Outcome, final_prediction
from captune.bulk.writing.writer import ResultWriter, WriteJob
from captune.data import ImageDecoder, PixelSlots, count_threads, open_decoder
from captune.errors import ImageError
from captune.hardware import return_free_memory
from captune.inference import LoadedCaptioner
from captune.progress import Say
from captune.records import Prediction

# Read before the model is loaded: errors show early, and small jobs are counted.
_NUM_AHEAD, _SECONDS_AHEAD = 2048, 5.0
_TRIM_EVERY = 4096
"""Images between returns of free memory: heaps of many threads would grow over millions."""
MANY_IMAGES = 100_000
"""Assumed number of images, where a model is loaded before they are counted."""


class BulkModel(Protocol):
    """A model that is loaded only if an image needs it."""

    def made_by(self) -> Mapping[str, object]:
        """Return what identifies it: `model`, `revision`, `digest` of its files."""

    def load(self, num_images: int, *, was_killed: bool = False) -> StreamCaptioner:
        """Load it for about `num_images`; `was_killed`: one may have crashed the last run."""


@contextmanager
def loaded(
    model: BulkModel, num_images: int, *, was_killed: bool = False
) -> Iterator[StreamCaptioner]:
    """Load a model for the body; its processes and actors end with the body."""
    captioner = model.load(num_images, was_killed=was_killed)
    try:
        yield captioner
    finally:
        if isinstance(captioner, WorkerCaptioner | RayCaptioner):
            captioner.close()


@dataclass(slots=True)
class BulkResult:
    """What a run did, filled in during the run.

    Attributes:
        run_id: The id for `captune undo`; empty: the run writes to the screen only.
        outcome: Counts, failures, and files that were edited in the meantime and kept.
        hardware: What ran the model; empty: no image needed it.
        began: Clock at the first image, in seconds.
        ended: Clock when the last output was complete, in seconds; 0: not yet.
        num_total: Images that the inputs name; `None`: not known yet.
        failures_path: The list of all failed images; empty: there is no journal.
        page_path: The page of the run; empty: there are too few images, or it has not finished.
    """

    run_id: str = ""
    outcome: Outcome = field(default_factory=Outcome)
    hardware: str = ""
    began: float = 0.0
    ended: float = 0.0
    num_total: int | None = None
    failures_path: str = ""
    page_path: str = ""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where a run reports to.

    Attributes:
        screen: The stream for captions that go to the screen; `None`: none.
        command: The command line, for the journal and the page.
        on_progress: Called after each image.
        say: Called with the disk space that undoing will need, before anything is written.
        count: Returns how many images the inputs name, for the time left; called in a thread.
    """

    screen: IO[bytes] | None = None
    command: str = ""
    on_progress: Callable[[Outcome], None] | None = None
    say: Say | None = None
    count: Callable[[], int | None] | None = None


def run_bulk(
    model: BulkModel,
    found: Iterable[FoundItem],
    *,
    inputs: tuple[str, ...],
    settings: BulkSettings,
    result: BulkResult,
    surroundings: Surroundings,
) -> None:
    """Caption the images that the inputs name, and fill in the result during the run.

    Raises:
        CaptuneError: An output cannot be written, holds captions of another model, or is held by
            another run; or the model cannot be loaded.
        ReaderGoneError: Captions go to the screen only, and its reader has closed the pipe.
    """
    outputs = choose_outputs(settings)
    refuse_inputs(outputs, inputs)
    place = choose_place(outputs, settings, inputs=inputs)
    with ExitStack() as held:
        opened: OpenRun | None = None
        if place is not None:
            facts = RunFacts(model.made_by(), surroundings.command)
            opened = held.enter_context(
                open_run(outputs, settings, place=place, facts=facts, outcome=result.outcome)
            )
            result.run_id, result.failures_path = opened.run.id, str(place.failures)
        planner = Planner(
            needs_of(opened, outputs, settings=settings),
            settings.feed,
            outcome=result.outcome,
            database=None if opened is None else opened.database,
            guard=None if opened is None else guard_of(opened, settings, inputs=inputs),
        )
        tasks = planner.tasks(found)
        first, is_all = _look_ahead(tasks)
        _start_count(result, surroundings, is_all=is_all)
        sink: _Sink | None = None
        if first:
            if opened is not None and surroundings.say is not None:
                _announce_undo(opened, first, is_all=is_all, say=surroundings.say)
            lines = None
            if outputs.stream is not None and surroundings.screen is not None:
                lines = CaptionLines(surroundings.screen, outputs.stream)
            writer = None if opened is None else opened.begin()
            sink = _Sink(settings, result.outcome, lines, writer, surroundings.on_progress)
            if opened is not None:
                watch = watch_run(result.outcome)
                sink.pages = RunPages(watch, opened, hardware=lambda: result.hardware)
                held.callback(sink.pages.close)
            was_killed = opened is not None and opened.was_killed
            work = _Work(model, settings, OrderedTasks(sink.take), result, was_killed)
            work.start_clock = None if sink.pages is None else sink.pages.watch.start
            work.caption(first, tasks, is_all=is_all)
        if opened is not None:
            opened.forget_failures(planner.recovered)
            opened.finish()
            result.ended = time.perf_counter()
            if surroundings.say is not None and (text := describe_copies(opened.copies)):
                surroundings.say(text)
            if sink is not None and sink.pages is not None:
                result.page_path = sink.pages.finish()


def _look_ahead(tasks: Iterator[CaptionTask]) -> tuple[list[CaptionTask], bool]:
    """Return the first tasks, and whether there are no others."""
    first: list[CaptionTask] = []
    until = time.monotonic() + _SECONDS_AHEAD
    for task in tasks:
        first.append(task)
        if len(first) >= _NUM_AHEAD or time.monotonic() > until:
            return first, False
    return first, True


def _start_count(result: BulkResult, surroundings: Surroundings, *, is_all: bool) -> None:
    """Set the number of images; count them in the background if the look-ahead did not."""
    count = surroundings.count
    if is_all:
        result.num_total = result.outcome.num_found
    elif count is not None:

        def work() -> None:
            result.num_total = count()

        threading.Thread(target=work, name="captune-count", daemon=True).start()


def _announce_undo(opened: OpenRun, first: list[CaptionTask], *, is_all: bool, say: Say) -> None:
    forecast = forecast_undo(
        first,
        opened.per_image,
        existing=opened.run.existing,
        is_all=is_all,
        replaced=[form.path for form in opened.collected.values()],
    )
    if text := forecast.describe():
        say(f"to undo this run, {text} will be kept in {opened.place.database.parent}")


@dataclass(slots=True)
class _Work:
    """Loads the model when the first image needs it."""

    model: BulkModel
    settings: BulkSettings
    ordered: OrderedTasks
    result: BulkResult
    was_killed: bool = False
    start_clock: Callable[[], None] | None = None

    def caption(
        self, first: list[CaptionTask], rest: Iterator[CaptionTask], *, is_all: bool
    ) -> None:
        """Settle all tasks."""
        num_images = sum(not task.is_settled for task in first) if is_all else MANY_IMAGES
        tasks = itertools.chain(first, rest)
        for task in tasks:
            if task.is_settled:
                self.ordered.admit(task)
                continue
            with (
                self._open_early(num_images) as early,
                loaded(self.model, num_images, was_killed=self.was_killed) as captioner,
            ):
                self.result.hardware, self.result.began = captioner.describe(), time.perf_counter()
                if self.start_clock is not None:
                    self.start_clock()
                is_here = isinstance(captioner, LoadedCaptioner)
                captioning = Captioning(
                    captioner, self.ordered, self.settings, decoder=early if is_here else None
                )
                captioning.caption(itertools.chain([task], tasks))

    @contextmanager
    def _open_early(self, num_images: int) -> Iterator[ImageDecoder | None]:
        """Yield a decoder that starts while the model is loaded; `None`: that saves nothing."""
        if num_images > MAX_IN_PROCESS or self.settings.decode == "inline":
            yield None
            return
        slots, threads = PixelSlots.for_threads(), count_threads()
        with open_decoder(self.settings.decode, num_threads=threads, slots=slots) as decoder:
            decoder.start_early()
            yield decoder


@dataclass(slots=True)
class _Sink:
    """Receives settled tasks: applies the wording to captions, and hands them on."""

    settings: BulkSettings
    outcome: Outcome
    lines: CaptionLines | None
    writer: ResultWriter | None
    on_progress: Callable[[Outcome], None] | None
    pages: RunPages | None = None
    _num_taken: int = 0

    def take(self, task: CaptionTask) -> None:
        """Hand on one task."""
        self._num_taken += 1
        if self._num_taken % _TRIM_EVERY == 0:
            return_free_memory()
        if task.prediction is not None:
            self.outcome.num_generated += task.is_new
            self.outcome.num_reused += not task.is_new
        final = final_prediction(task, self.settings.wording)
        if final is not None:
            self.outcome.num_repetitive += "repetition" in final.flags
            self.outcome.num_truncated += "truncated" in final.flags
            if self.pages is not None:
                self.pages.watch.add(task.item, final)
            self._show(final)
        if self.writer is not None:
            self.writer.put(WriteJob(task, final))
        elif final is not None:
            self.outcome.num_done += 1
        else:
            self.outcome.add_failure(task.item.name, task.error or ImageError("unknown"))
        if self.on_progress is not None:
            self.on_progress(self.outcome)
        if self.pages is not None:
            self.pages.renew()

    def _show(self, final: Prediction) -> None:
        try:
            if self.lines is not None:
                self.lines.write(final)
        except ReaderGoneError:
            if self.writer is None:
                raise
            # The files are still wanted.
            self.lines = None
