"""Decoded images that wait for the model, in the process that holds it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from captune.recipe import GenerateConfig
from captune.records import Prediction
from captune.serving.engine.messages import Captioned

# Decoding an image takes about 10 ms, and captioning a batch 100 ms or more: waiting this long for
# images that are being decoded costs little and fills batches.
_LINGER_SECONDS = 0.02

_MAX_PLACES = 16_384
"""Maximum number of tokens, of all beams of all images, in a batch. Their keys and values are
1.2 GB in BLIP base and float32; a request for 16 beams of 512 tokens for 16 images would need
9.7 GB."""


@dataclass(frozen=True, slots=True)
class ReadyImage:
    """A decoded image.

    Attributes:
        job: Number of the job.
        image_id: Id that seeds sampling.
        inputs: The model inputs.
        configs: Decoding settings; one caption per entry.
        decode_seconds: Time that decoding the image took.
        marks: Peculiarities of the image, which become flags of its captions.
        is_alone: Whether it must not share a batch.
        is_streamed: Whether its words are sent while it is captioned.
        since: When it was ready, in seconds of `time.monotonic`.
        settings: `configs` as text, which is compared at every step of a batch.
        places: Maximum number of tokens of all beams.
    """

    job: int
    image_id: str
    inputs: Any
    configs: tuple[GenerateConfig, ...]
    decode_seconds: float
    marks: tuple[str, ...] = ()
    is_alone: bool = False
    is_streamed: bool = False
    since: float = field(default_factory=time.monotonic)
    settings: str = field(init=False)
    places: int = field(init=False)

    def __post_init__(self) -> None:
        """Write the settings as text, and find the largest."""
        text = "\n".join(config.model_dump_json() for config in self.configs)
        object.__setattr__(self, "settings", text)
        places = max(config.num_beams * config.max_new_tokens for config in self.configs)
        object.__setattr__(self, "places", places)

    def captioned(self, predictions: Sequence[Prediction]) -> Captioned:
        """Return the message with its captions, one per config."""
        flagged = tuple(
            replace(one, flags=(*one.flags, *self.marks)) if self.marks else one
            for one in predictions
        )
        return Captioned(self.job, flagged, self.decode_seconds)


class ReadyImages:
    """A queue filled by decoding threads and emptied by the model, a batch at a time."""

    def __init__(self) -> None:
        """Start empty."""
        self._changed = threading.Condition()
        self._ready: list[ReadyImage] = []
        self._decoding: set[int] = set()
        self._cancelled: set[int] = set()
        self._unwanted: set[int] = set()

    def announce(self, job: int) -> None:
        """Record that an image is being decoded."""
        with self._changed:
            self._decoding.add(job)

    def is_wanted(self, job: int) -> bool:
        """Return whether a job is still wanted."""
        with self._changed:
            return job not in self._cancelled

    def put(self, job: int, image: ReadyImage | None) -> None:
        """Add a decoded image; `None`: it cannot be used or is no longer wanted."""
        with self._changed:
            self._decoding.discard(job)
            if image is not None and job not in self._cancelled:
                self._ready.append(image)
            self._cancelled.discard(job)
            self._changed.notify_all()

    def cancel(self, job: int) -> None:
        """Drop a job, or note that it is no longer wanted if the model has started it."""
        with self._changed:
            if job in self._decoding:
                self._cancelled.add(job)
                return
            kept = [image for image in self._ready if image.job != job]
            if len(kept) == len(self._ready):
                self._unwanted.add(job)
            self._ready = kept

    def take_unwanted(self) -> set[int]:
        """Return the jobs cancelled after their start, since the last call; some have ended."""
        if not self._unwanted:
            return set()
        with self._changed:
            taken, self._unwanted = self._unwanted, set()
        return taken

    def take(self, most: int) -> Sequence[ReadyImage]:
        """Wait for images with equal decoding settings, and return at most `most` of them.

        The oldest image decides which settings; images with others keep their order.
        """
        self.take_unwanted()
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._ready)
                self._linger(most)
                # The last image may have been cancelled in the meantime.
                if self._ready:
                    fitting = max(1, _MAX_PLACES // self._ready[0].places)
                    return self._take_alike(min(most, fitting))

    def join(self, alike: ReadyImage, *, room: int, most: int) -> Sequence[ReadyImage]:
        """Return images that can join a batch now, without waiting; none if others are older.

        So images with other settings, or that must be alone, are not overtaken forever.

        Args:
            alike: An image of the batch, whose settings they share.
            room: Number of images that the batch has room for.
            most: Maximum number of images. Each group costs a pass over the weights, and its own
                share of each step: fewer images join only after a short wait for others, and if
                there are more than the batch has room for, it takes none until these fit.
        """
        with self._changed:
            if not self._ready or self._ready[0].settings != alike.settings or room < 1:
                return []
            count = min(most, self._count_alike())
            is_early = time.monotonic() - self._ready[0].since < _LINGER_SECONDS
            if room < count or (count < most and is_early) or self._ready[0].is_alone:
                return []
            return self._take_alike(min(room, most))

    def _linger(self, most: int) -> None:
        if self._ready and self._ready[0].is_alone:
            return
        until = time.monotonic() + _LINGER_SECONDS
        while self._decoding and self._count_alike() < most:
            left = until - time.monotonic()
            if left <= 0 or not self._changed.wait(left):
                break

    def _take_alike(self, most: int) -> Sequence[ReadyImage]:
        batch = self._find_alike()[:most]
        taken = {image.job for image in batch}
        self._ready = [image for image in self._ready if image.job not in taken]
        return batch

    def _count_alike(self) -> int:
        return len(self._find_alike())

    def _find_alike(self) -> list[ReadyImage]:
        """Return the oldest image, and those that can share its batch."""
        if not self._ready or self._ready[0].is_alone:
            return self._ready[:1]
        settings = self._ready[0].settings
        return [one for one in self._ready if one.settings == settings and not one.is_alone]
