"""What an image still needs: the outputs that lack its caption, under the chosen policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from captune.bulk.formats.interface import ADDING, Existing, PerImageFormat
from captune.bulk.items import Item
from captune.bulk.journal.changes import file_state
from captune.bulk.journal.known import DoneOutput, KnownImage
from captune.bulk.journal.runs import JournalRun
from captune.bulk.writing.tasks import CaptionTask
from captune.errors import ImageError, OutputError


@dataclass(frozen=True, slots=True)
class Needs:
    """Decides what each image needs, from the journal and the files.

    Attributes:
        per_image: Formats of one file per image, by name.
        collected: Names of the collected formats.
        existing: What happens to an image that already has a caption.
        run: This run; `None`: there is no journal.
        has_stream: Whether captions also go to the screen, so that every image is needed.
    """

    per_image: Mapping[str, PerImageFormat]
    collected: Sequence[str]
    existing: Existing
    run: JournalRun | None
    has_stream: bool = False

    @property
    def adds(self) -> bool:
        """Whether captions are added to those in the files."""
        return self.existing in ADDING

    @property
    def are_rows_final(self) -> bool:
        """Whether an image needs nothing once every output has a row of it, whichever run wrote it.

        Then most images of a resumed run need one query, and no look at their files.
        """
        are_rows_all = bool(self.collected) and not self.per_image and not self.has_stream
        return are_rows_all and self.existing != "overwrite"

    def of(
        self, item: Item, known: KnownImage, *, earlier: Mapping[str, set[str]]
    ) -> CaptionTask | None:
        """Return the task of an image; `None`: nothing is needed.

        Args:
            item: The image.
            known: What the journal knows about it.
            earlier: By collected format, the names that its finished file holds.

        Raises:
            OutputError: The image has a caption, and the policy is `error`.
        """
        task = CaptionTask(item, content=known.content)
        for form in self.per_image.values():
            self._add_file(task, form, known)
        self._add_rows(task, known, earlier=earlier)
        if task.targets or task.collected or self.has_stream or task.error:
            return task
        return None

    def _add_rows(
        self, task: CaptionTask, known: KnownImage, *, earlier: Mapping[str, set[str]]
    ) -> None:
        wanted = []
        for name in self.collected:
            done = known.outputs.get(name)
            if done is not None and (self.existing != "overwrite" or self._is_settled(done)):
                continue
            if task.item.name in earlier.get(name, ()):
                if self.existing == "error":
                    raise _has_caption(task.item.name, name)
                if self.existing != "overwrite":
                    continue
            wanted.append(name)
        task.collected = tuple(wanted)

    def _add_file(self, task: CaptionTask, form: PerImageFormat, known: KnownImage) -> None:
        name, done = form.name, known.outputs.get(form.name)
        if task.item.file is None:
            task.error = ImageError(
                "no_file", where=f"{name} needs an image file", fix="--to jsonl or --to csv"
            )
            return
        target = form.path_for(task.item)
        state = file_state(target)
        if self.adds:
            if state is None or name not in known.added:
                task.targets[name] = state
            return
        is_settled = done is not None and state is not None and self._is_settled(done)
        if is_settled and (state == (done and done.state) or self.existing != "skip"):
            # A file edited since then is not overwritten by this run.
            return
        try:
            looks = state is not None and self.existing in ("skip", "error")
            has_caption = looks and form.has_caption(target)
        except OutputError as error:
            # A file that cannot be read, or a pipe in its place, fails only this image.
            task.error = ImageError("io", where=error.what, fix=error.fix)
            return
        if has_caption:
            if self.existing == "error":
                raise _has_caption(str(target), name)
            return
        task.targets[name] = state

    def _is_settled(self, done: DoneOutput) -> bool:
        """Return whether an output was written by this run, or equals what this run would write."""
        if self.run is None:
            return False
        if self.existing == "overwrite":
            return done.run == self.run.number
        return done.recipe == self.run.recipe


def _has_caption(place: str, form: str) -> OutputError:
    return OutputError(
        f"{place} has a caption already ({form})",
        where="--existing error",
        fix="use --existing skip, overwrite, append or prepend",
    )
