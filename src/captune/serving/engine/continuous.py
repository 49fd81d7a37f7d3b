"""A batch that other images join while it runs; it sends words as they are decoded."""

from __future__ import annotations

import sys
import time
import unicodedata
from collections.abc import Sequence

from captune.inference import RunningBatch
from captune.records import Prediction
from captune.serving.engine.batch_size import BatchSize
from captune.serving.engine.messages import (
    BatchDone,
    Dropped,
    Started,
    StillRunning,
    WordsSoFar,
)
from captune.serving.engine.pace import Pace
from captune.serving.engine.ready import ReadyImage, ReadyImages
from captune.workers import MODEL_ERRORS, Link

_SECONDS_PER_REPORT = 1.0
_SHARE = 2
"""At most half of a batch joins at once: encoding its images keeps the others waiting, and each
group that joins reads all weights in each step."""


class ContinuousBatch:
    """Images with equal settings in the model; each one that ends makes room for another."""

    def __init__(
        self,
        running: RunningBatch,
        *,
        ready: ReadyImages,
        size: BatchSize,
        pace: Pace,
        link: Link,
    ) -> None:
        """Start without images.

        Args:
            running: The model.
            ready: Images that wait for the model.
            size: Maximum number of images at once.
            pace: Whether others join at all; learns from these images.
            link: Where captions go.
        """
        self._running, self._ready = running, ready
        self._size, self._pace, self._link = size, pace, link
        # The oldest first, each with the time at which it came.
        self._images: dict[int, tuple[ReadyImage, float]] = {}
        self._sent: dict[int, str] = {}
        self._began = self._reported = time.perf_counter()
        self._num_ended = self._most_at_once = 0

    def run(self, batch: Sequence[ReadyImage]) -> list[ReadyImage]:
        """Caption images and those that join them; return the ones that the model failed on.

        After a failure, all images that were running are returned: any of them may be to blame.
        """
        try:
            self._add(batch)
            while self._images:
                joining = self._join(batch[0])
                if joining:
                    self._link.send(Started(tuple(image.job for image in joining)))
                    self._add(joining)
                self._note(self._running.step() if self._images else [])
                self._send_words()
                self._drop_unwanted()
        except MODEL_ERRORS as error:
            if _lacks_memory(error):
                self._size.note_failure(len(self._images))
            return [image for image, _ in self._images.values()]
        self._report()
        return []

    def _join(self, alike: ReadyImage) -> Sequence[ReadyImage]:
        _, oldest = next(iter(self._images.values()))
        if not self._running.may_add or not self._pace.is_slow(time.perf_counter() - oldest):
            return []
        most = self._size.most
        room = most - len(self._images)
        return self._ready.join(alike, room=room, most=max(1, most // _SHARE))

    def _add(self, images: Sequence[ReadyImage]) -> None:
        now = time.perf_counter()
        # Before the model sees them: all are returned if it fails.
        numbered = enumerate(images, self._running.next_number)
        self._images |= {number: (image, now) for number, image in numbered}
        self._most_at_once = max(self._most_at_once, len(self._images))
        self._note(self._running.add([(image.image_id, image.inputs) for image in images]))

    def _drop_unwanted(self) -> None:
        unwanted = self._ready.take_unwanted()
        dropped = [n for n, (image, _) in self._images.items() if image.job in unwanted]
        for number in dropped:
            image, _ = self._images.pop(number)
            self._sent.pop(number, None)
            self._running.drop(number)
            self._link.send(Dropped(image.job))

    def _note(self, ended: Sequence[tuple[int, Prediction]]) -> None:
        now = time.perf_counter()
        for number, prediction in ended:
            self._sent.pop(number, None)
            image, began = self._images.pop(number)
            self._pace.note(now - began)
            self._link.send(image.captioned([prediction]))
            self._num_ended += 1
        if self._num_ended >= self._size.most:
            self._report()
        elif now - self._reported >= _SECONDS_PER_REPORT:
            self._reported = now
            self._link.send(StillRunning())

    def _report(self) -> None:
        """Send the time that as many captions as a batch has, or the last ones, have taken."""
        now = time.perf_counter()
        if self._num_ended:
            self._link.send(BatchDone(self._num_ended, now - self._began))
            self._size.note_success(self._most_at_once)
        self._began, self._num_ended, self._most_at_once = now, 0, len(self._images)

    def _send_words(self) -> None:
        for number, (image, _) in self._images.items():
            if image.is_streamed:
                text = settled_words(self._running.text_so_far(number))
                if text != self._sent.get(number, ""):
                    self._sent[number] = text
                    self._link.send(WordsSoFar(image.job, text))


def _lacks_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError) or "torch" not in sys.modules:
        # An exported model runs without torch, which need not be installed.
        return isinstance(error, MemoryError)
    from captune.hardware import is_out_of_memory

    return is_out_of_memory(error)


def settled_words(text: str) -> str:
    """Return the beginning of a text that further tokens do not change: all but the last word.

    The next token may continue the last word, or draw it to the one before, as in `don't`. Letters
    of scripts without spaces are words of their own.
    """
    end = next(
        (
            place
            for place in range(len(text) - 1, 0, -1)
            if text[place] == " " or unicodedata.east_asian_width(text[place]) in "WF"
        ),
        0,
    )
    return text[:end].rstrip(" ")
