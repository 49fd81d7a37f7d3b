"""What a run would do: counts for `--dry-run`, changes for `--preview N`.

No output is written: an existing journal is read, and none is created.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from captune.bulk.captioning import Captioning
from captune.bulk.feed.name_clashes import NameGuard
from captune.bulk.feed.needs import Needs
from captune.bulk.feed.ordered import OrderedTasks
from captune.bulk.feed.planner import Planner
from captune.bulk.formats import open_collected, open_per_image
from captune.bulk.formats.interface import PerImageFormat
from captune.bulk.items import CaptionedItem, FoundItem
from captune.bulk.journal.changes import PlannedChange
from captune.bulk.journal.database import Database
from captune.bulk.journal.results import load_earlier_names
from captune.bulk.journal.runs import JournalRun, find_settings, next_run
from captune.bulk.run import BulkModel, loaded
from captune.bulk.settings import (
    BulkSettings,
    ChosenOutputs,
    choose_outputs,
    shown_place,
)
from captune.bulk.sources.refusals import refuse_inputs
from captune.bulk.state.maker import identity, refuse_other_makers
from captune.bulk.state.place import choose_place
from captune.bulk.state.remote import remote_of
from captune.bulk.state.run_state import maker_of, recipe_of
from captune.bulk.undo_forecast import kept_bytes
from captune.bulk.writing.per_image import FileWriter
from captune.bulk.writing.tasks import CaptionTask, Outcome, final_prediction
from captune.errors import ImageError


@dataclass(frozen=True, slots=True)
class PlannedCaption:
    """What would be written for one image.

    Attributes:
        name: The image.
        caption: Its final caption; empty: it has none.
        files: The files beside it that would be written, or the image file itself.
        undo_bytes: Bytes that the run would keep for `captune undo`.
        error: Why it would be listed as failed; `None`: it would not.
    """

    name: str
    caption: str = ""
    files: tuple[Path, ...] = ()
    undo_bytes: int = 0
    error: ImageError | None = None


@dataclass(slots=True)
class RunPreview:
    """What a run would do.

    Attributes:
        outcome: Images found, skipped and failed; none is done.
        num_waiting: Images that would be captioned.
        num_known: Of these, images whose caption is in the journal already.
        num_replaced: Files that exist and would change.
        num_new: Files that would be created.
        captions: The captions of the first images.
        collected: The files and folders, or their URLs, that would get all captions.
    """

    outcome: Outcome = field(default_factory=Outcome)
    num_waiting: int = 0
    num_known: int = 0
    num_replaced: int = 0
    num_new: int = 0
    captions: list[PlannedCaption] = field(default_factory=list)
    collected: tuple[str, ...] = ()


def preview_run(
    model: BulkModel,
    found: Iterable[FoundItem],
    *,
    inputs: tuple[str, ...],
    settings: BulkSettings,
    num_captions: int = 0,
) -> RunPreview:
    """Return what a run would do; with `num_captions`, caption that many images to show it.

    Raises:
        CaptuneError: What the run would raise.
    """
    outputs = choose_outputs(settings)
    refuse_inputs(outputs, inputs)
    preview = RunPreview(
        collected=tuple(shown_place(place, settings) for _, place in outputs.collected)
    )
    with _planner(model, outputs, settings, inputs=inputs, outcome=preview.outcome) as opened:
        planner, per_image = opened
        tasks = planner.tasks(found)
        if num_captions:
            wanted = list(itertools.islice(tasks, num_captions))
            _caption(model, wanted, settings, per_image=per_image, preview=preview)
            return preview
        for task in tasks:
            if task.error is not None:
                preview.outcome.add_failure(task.item.name, task.error)
                continue
            preview.num_waiting += 1
            preview.num_known += task.prediction is not None
            preview.num_replaced += sum(state is not None for state in task.targets.values())
            preview.num_new += sum(state is None for state in task.targets.values())
    return preview


@contextmanager
def _planner(
    model: BulkModel,
    outputs: ChosenOutputs,
    settings: BulkSettings,
    *,
    inputs: tuple[str, ...],
    outcome: Outcome,
) -> Iterator[tuple[Planner, Mapping[str, PerImageFormat]]]:
    place = choose_place(outputs, settings, inputs=inputs)
    remote = None if place is None else remote_of(place, settings.out)
    if remote is not None:
        remote.pull(outputs, will_write=False)
    exists = place is not None and place.database.is_file()
    database = Database(place.database if place is not None and exists else Path(":memory:"))
    try:
        per_image: dict[str, PerImageFormat] = {
            name: open_per_image(name, naming=settings.naming) for name in outputs.per_image
        }
        for name, path in outputs.collected:
            form = open_collected(name, path)
            names = () if settings.existing == "overwrite" else form.earlier_names()
            load_earlier_names(database, name, names=names)
        run = None
        if place is not None:
            run = _plan(database, model, outputs, settings=settings, folder=place.folder)
        collected = tuple(name for name, _ in outputs.collected)
        needs = Needs(
            per_image,
            collected,
            settings.existing or "skip",
            run,
            has_stream=outputs.stream is not None,
        )
        guard = NameGuard(
            per_image,
            folders=[text for text in inputs if Path(text).is_dir()],
            follow_links=settings.follow_links,
            database=database,
            refuse_held=lambda _folder: None,
        )
        yield (
            Planner(needs, settings.feed, outcome=outcome, database=database, guard=guard),
            per_image,
        )
    finally:
        database.close()


def _plan(
    database: Database,
    model: BulkModel,
    outputs: ChosenOutputs,
    *,
    settings: BulkSettings,
    folder: Path,
) -> JournalRun:
    """Return the run that would be begun or resumed.

    Raises:
        OutputError: It would be refused, because another model made the captions.
    """
    made_by = model.made_by()
    recipe = recipe_of(made_by, settings)
    if settings.existing is None:
        refuse_other_makers(database, recipe, outputs=outputs, folder=folder)
    return next_run(
        database,
        outputs.names,
        maker=find_settings(database, identity(maker_of(made_by, settings))),
        recipe=find_settings(database, identity(recipe)),
        existing=settings.existing or "skip",
    )


def _caption(
    model: BulkModel,
    tasks: list[CaptionTask],
    settings: BulkSettings,
    *,
    per_image: Mapping[str, PerImageFormat],
    preview: RunPreview,
) -> None:
    # It plans what the run would write, and writes nothing.
    files = FileWriter(per_image, existing=settings.existing or "skip")

    def take(task: CaptionTask) -> None:
        preview.captions.append(_planned(task, files, settings))

    ordered = OrderedTasks(take)
    if all(task.is_settled for task in tasks):
        for task in tasks:
            ordered.admit(task)
        return
    with loaded(model, len(tasks)) as captioner:
        Captioning(captioner, ordered, settings).caption(iter(tasks))


def _planned(task: CaptionTask, files: FileWriter, settings: BulkSettings) -> PlannedCaption:
    final = final_prediction(task, settings.wording)
    if final is None:
        return PlannedCaption(task.item.name, error=task.error)
    captioned = CaptionedItem(task.item, final)
    changes: list[PlannedChange] = []
    failure: ImageError | None = None
    for form, found in task.targets.items():
        changed, error = files.plan_or_fall_back(form, captioned, found=found)
        failure = error or failure
        if changed is not None:
            changes.append(changed.planned)
    return PlannedCaption(
        task.item.name,
        final.caption,
        tuple(change.target for change in changes),
        sum(kept_bytes(change.undo, change.target) for change in changes),
        failure,
    )
