"""Images that a training can no longer read, although they could be read when it was prepared.

A few are skipped with a warning. Many mean that a disk or a network share is gone: the steps would
change nothing, and the run would end with an untrained model and no word about it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from captune.errors import DataError
from captune.progress import Say
from captune.suggest import format_count

_MAX_IN_A_ROW = 8
_MAX_WARNINGS = 5


@dataclass(slots=True)
class LostImages:
    """Counts the images of one split that this process cannot read.

    Attributes:
        num_images: Number of images in the split.
        max_fraction: Maximum share that may be unreadable, 0..1: `data.max_bad_fraction`.
        say: Called with each warning.
    """

    num_images: int
    max_fraction: float
    say: Say
    _in_a_row: int = field(init=False, default=0)
    _lost: set[str] = field(init=False, default_factory=set)

    def count(self, num_read: int, failures: Mapping[str, str]) -> None:
        """Count the images of a micro batch.

        Args:
            num_read: Number of images that could be read.
            failures: Reasons of the others, by image id.

        Raises:
            DataError: Too many images, or several in a row, cannot be read.
        """
        self._in_a_row = 0 if num_read else self._in_a_row + len(failures)
        for image_id, reason in failures.items():
            self._warn(image_id, reason)
        too_many = len(self._lost) > self.max_fraction * self.num_images
        if failures and (too_many or self._in_a_row >= _MAX_IN_A_ROW):
            image_id, reason = next(iter(failures.items()))
            raise DataError(
                f"{format_count(len(self._lost), 'image')} can no longer be read, such as"
                f" {image_id!r} ({reason}), although {'it' if len(self._lost) == 1 else 'they'}"
                " could be read when the data was prepared",
                where=f"data.max_bad_fraction {self.max_fraction:g} of"
                f" {format_count(self.num_images, 'image')}"
                if too_many
                else f"{self._in_a_row} images in a row",
                fix="make the images readable again (is a disk or a network drive missing?), then"
                " run the same command with --resume; or use --from prepare, which skips them",
            )

    def _warn(self, image_id: str, reason: str) -> None:
        if image_id in self._lost:
            return
        self._lost.add(image_id)
        if len(self._lost) <= _MAX_WARNINGS:
            last = "; more of them are not listed" if len(self._lost) == _MAX_WARNINGS else ""
            self.say(
                f"warning: image {image_id!r} can no longer be read ({reason}) and is skipped{last}"
            )
