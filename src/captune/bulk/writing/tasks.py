"""An image in a run: what it needs, and its result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from captune.bulk.items import Item
from captune.bulk.journal.known import FileState
from captune.bulk.wording import Wording
from captune.errors import ImageError
from captune.records import Prediction

_MAX_LISTED = 1000


@dataclass(slots=True)
class CaptionTask:
    """One image that needs an output.

    Attributes:
        item: The image.
        targets: The formats of one file per image to write, each with the state of its file when
            the image was found; `None`: it did not exist.
        collected: The collected formats that get a row.
        content: Hash of the image's content; `None`: unknown, so it is captioned by itself.
        prediction: Its caption as the model generated it; `None`: not captioned yet.
        is_new: Whether the model generated it for this image now.
        error: Why it has no caption; `None`: it has one, or is not captioned yet.
    """

    item: Item
    targets: dict[str, FileState | None] = field(default_factory=dict)
    collected: tuple[str, ...] = ()
    content: bytes | None = None
    prediction: Prediction | None = None
    is_new: bool = False
    error: ImageError | None = None

    @property
    def is_settled(self) -> bool:
        """Whether it has a caption or a failure."""
        return self.prediction is not None or self.error is not None


@dataclass(slots=True)
class Outcome:
    """Number of images by outcome.

    At the end of a run without a limit, `num_done + num_skipped + num_failed = num_found`.

    Attributes:
        num_found: Images that the inputs name.
        num_done: Images whose outputs were written.
        num_skipped: Images that needed nothing, or whose files were edited during the run.
        num_failed: Images without a caption.
        num_generated: Captions that the model generated.
        num_reused: Captions taken from an image with the same content, or from the journal.
        num_repetitive: Captions in which the model repeats itself; they are written.
        num_truncated: Captions of images that are truncated (`--allow-truncated`).
        num_links: Links that lead out of their folder and were not followed; not images.
        num_kept: Files that were edited by hand in the meantime, and kept.
        kept: Their names; the first thousand.
        failures: Name and reason of each failure; the first thousand.
        on_failure: Called with each failure.
    """

    num_found: int = 0
    num_done: int = 0
    num_skipped: int = 0
    num_failed: int = 0
    num_generated: int = 0
    num_reused: int = 0
    num_repetitive: int = 0
    num_truncated: int = 0
    num_links: int = 0
    num_kept: int = 0
    kept: list[str] = field(default_factory=list)
    failures: list[tuple[str, ImageError]] = field(default_factory=list)
    on_failure: Callable[[str, ImageError], None] | None = None

    def add_failure(self, name: str, error: ImageError) -> None:
        """Count a failure."""
        self.num_failed += 1
        if len(self.failures) < _MAX_LISTED:
            self.failures.append((name, error))
        if self.on_failure is not None:
            self.on_failure(name, error)

    def add_kept(self, text: str) -> None:
        """Record a file that was edited in the meantime."""
        self.num_kept += 1
        if len(self.kept) < _MAX_LISTED:
            self.kept.append(text)


def final_prediction(task: CaptionTask, wording: Wording) -> Prediction | None:
    """Return a task's prediction under its own name, with its final caption.

    Returns:
        `None`: it has none; the task's error is the reason.
    """
    if task.prediction is None:
        return None
    text = wording.change(_storable(task.prediction.caption), task.item.name)
    if not text.strip():
        task.error = ImageError("empty_caption")
        return None
    return replace(task.prediction, image_id=task.item.name, caption=text)


def _storable(caption: str) -> str:
    """Return a caption without NUL and lone surrogates, which files and databases refuse."""
    return caption.replace("\0", "").encode("utf-8", "replace").decode()
