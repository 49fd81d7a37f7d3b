"""One actor as the run sees it: the images it holds, and how many more it should get."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from captune.bulk.cluster.actor import ActorWork
from captune.bulk.worker.wire import USUAL_BATCH, Complete, Images, StartStream
from captune.inference import AnyImage
from captune.recipe import GenerateConfig

NamedImage = tuple[str, AnyImage]

# An actor holds images for this many seconds, and gets more when half of them are left. Images that
# a killed actor has not answered are captioned again, so this bounds what a kill can cost.
_SECONDS_AHEAD = 10.0
_MAX_IMAGES, _MAX_BYTES = 2048, 64_000_000


class Seat:
    """An actor, and the images it has been given.

    Attributes:
        actor: Ray's handle.
        answers: Ray's reference to the answers that it has been asked for.
        images: The images that it has not answered, by name.
        is_ready: Whether its model is loaded.
        is_alone: Whether it holds one image only, which may have ended other actors.
    """

    def __init__(self, actor: Any) -> None:
        """Ask the actor for its first answers."""
        self.actor = actor
        self.answers = actor.take.remote()
        self.images: dict[str, AnyImage] = {}
        self.is_ready = self.is_alone = False
        self._start: StartStream | None = None
        self._num_answered = 0
        self._began = 0.0

    def ask_again(self) -> None:
        """Ask for the next answers."""
        self.answers = self.actor.take.remote()

    def complete(self, decoding: GenerateConfig) -> None:
        """Ask for unset decoding settings; reading the answers shows whether the actor is gone."""
        self.actor.put.remote(Complete(decoding))

    def begin(self, start: StartStream) -> None:
        """Begin a stream of images, if the model is loaded."""
        if self.is_ready:
            self._start = start

    @property
    def num_at_work(self) -> int:
        """How many images at most the actor works on at a time: two batches."""
        return 2 * ((self._start.batch_size if self._start else None) or USUAL_BATCH)

    def num_wanted(self) -> int:
        """Return how many images the actor should get now."""
        self.is_alone = self.is_alone and bool(self.images)
        if self._start is None or self.is_alone:
            return 0
        seconds = max(time.monotonic() - self._began, 1.0)
        ahead = int(self._num_answered / seconds * _SECONDS_AHEAD) if self._began else 0
        target = min(max(ahead, self.num_at_work), _MAX_IMAGES)
        return target - len(self.images) if len(self.images) <= target // 2 else 0

    def give(self, images: Sequence[NamedImage]) -> None:
        """Send images to the actor, in messages of limited size."""
        assert self._start is not None
        self._began = self._began or time.monotonic()
        part: list[NamedImage] = []
        size = 0
        for name, image in images:
            self.images[name] = image
            part.append((name, image))
            size += len(image) if isinstance(image, bytes) else 0
            if size > _MAX_BYTES:
                self.actor.put.remote(self._work(part))
                part, size = [], 0
        if part:
            self.actor.put.remote(self._work(part))

    def _work(self, part: Sequence[NamedImage]) -> ActorWork:
        assert self._start is not None
        return ActorWork(self._start, Images(tuple(part)), self.is_alone)

    def answered(self, name: str) -> bool:
        """Record an answer; return whether it was expected."""
        if name not in self.images:
            return False
        del self.images[name]
        self._num_answered += 1
        return True
