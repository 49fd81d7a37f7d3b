"""An image on its way through an engine."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto

from captune.recipe import GenerateConfig
from captune.records import Prediction
from captune.serving.errors import ApiError

_NUMBERS = itertools.count(1)


class Stage(Enum):
    """Progress of a job: in the engine's queue, sent to a process, or in the model."""

    WAITING = auto()
    SENT = auto()
    STARTED = auto()


@dataclass(slots=True, eq=False)
class ImageJob:
    """One image of a request.

    Attributes:
        image_id: Id that seeds sampling.
        content: The encoded image.
        configs: Decoding settings; one caption per entry.
        outcome: Its captions, or its error.
        on_words: Called with the beginning of its caption, and again when more of it is known;
            `None`: the request needs only the complete caption.
        number: Its number in messages.
        stage: Its progress.
        tries: Number of processes that ended while holding it.
        is_alone: Whether it must not share a batch.
        began: When it was queued, in seconds of `time.monotonic`.
    """

    image_id: str
    content: bytes
    configs: tuple[GenerateConfig, ...]
    outcome: asyncio.Future[tuple[Prediction, ...] | ApiError]
    on_words: Callable[[str], None] | None = None
    number: int = field(default_factory=lambda: next(_NUMBERS))
    stage: Stage = Stage.WAITING
    tries: int = 0
    is_alone: bool = False
    began: float = field(default_factory=time.monotonic)

    def settle(self, outcome: tuple[Prediction, ...] | ApiError) -> None:
        """Give the result to the request if it is still waiting."""
        if not self.outcome.done():
            self.outcome.set_result(outcome)
