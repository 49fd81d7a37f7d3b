"""A batch that other images join while it runs; it sends words as they are decoded."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Sequence

from captune.inference import RunningBatch
from captune.recipe import GenerateConfig
from captune.records import Prediction
from captune.serving.engine.batch_size import BatchSize
from captune.serving.engine.messages import BatchDone, Started, WordsSoFar
from captune.serving.engine.ready import ReadyImage, ReadyImages
from captune.workers import MODEL_ERRORS, Link

_SHARE = 2
"""At most half of a batch joins at once: encoding its images keeps the others waiting, and each
group that joins reads all weights in each step."""


class ContinuousBatch:
    """Images with equal settings in the model; each one that ends makes room for another."""

    def __init__(
        self,
        running: RunningBatch,
        configs: tuple[GenerateConfig, ...],
        *,
        ready: ReadyImages,
        size: BatchSize,
        link: Link,
    ) -> None:
        """Start without images.

        Args:
            running: The model.
            configs: Decoding settings of all images.
            ready: Images that wait for the model.
            size: Maximum number of images at once.
            link: Where captions go.
        """
        self._running, self._configs = running, configs
        self._ready, self._size, self._link = ready, size, link
        self._images: dict[int, ReadyImage] = {}
        self._sent: dict[int, str] = {}
        self._began = time.perf_counter()
        self._num_ended = self._most_at_once = 0

    def run(self, batch: Sequence[ReadyImage]) -> list[ReadyImage]:
        """Caption images and those that join them; return the ones that the model failed on.

        After a failure, all images that were running are returned: any of them may be to blame.
        """
        try:
            self._add(batch)
            while self._images:
                joining = self._join()
                if joining:
                    self._link.send(Started(tuple(image.job for image in joining)))
                    self._add(joining)
                self._note(self._running.step() if self._images else [])
                self._send_words()
        except MODEL_ERRORS as error:
            # Imports torch, which a model that runs in batches like these has loaded.
            from captune.hardware import is_out_of_memory

            if is_out_of_memory(error):
                self._size.note_failure(len(self._images))
            return list(self._images.values())
        self._report()
        return []

    def _join(self) -> Sequence[ReadyImage]:
        if not self._running.may_add:
            return []
        most = self._size.most
        room = most - len(self._images)
        return self._ready.join(self._configs, room=room, most=max(1, most // _SHARE))

    def _add(self, images: Sequence[ReadyImage]) -> None:
        # Before the model sees them: all are returned if it fails.
        self._images |= dict(enumerate(images, self._running.next_number))
        self._most_at_once = max(self._most_at_once, len(self._images))
        self._note(self._running.add([(image.image_id, image.inputs) for image in images]))

    def _note(self, ended: Sequence[tuple[int, Prediction]]) -> None:
        for number, prediction in ended:
            self._sent.pop(number, None)
            self._link.send(self._images.pop(number).captioned([prediction]))
            self._num_ended += 1
        if self._num_ended >= self._size.most:
            self._report()

    def _report(self) -> None:
        """Send the time that as many captions as a batch has, or the last ones, have taken."""
        now = time.perf_counter()
        if self._num_ended:
            self._link.send(BatchDone(self._num_ended, now - self._began))
            self._size.note_success(self._most_at_once)
        self._began, self._num_ended, self._most_at_once = now, 0, len(self._images)

    def _send_words(self) -> None:
        for number, image in self._images.items():
            if image.is_streamed:
                text = settled_words(self._running.text_so_far(number))
                if text != self._sent.get(number, ""):
                    self._sent[number] = text
                    self._link.send(WordsSoFar(image.job, text))


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
