"""An image on its way through an engine."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass, field
from enum import Enum, auto

from captune.recipe import GenerateConfig
from captune.records import Prediction
from captune.serving.errors import ApiError

_NUMBERS = itertools.count(1)


class Stage(Enum):
    """How far a job is."""

    WAITING = auto()
    SENT = auto()
    STARTED = auto()


@dataclass(slots=True, eq=False)
class ImageJob:
    """One image of a request.

    Attributes:
        image_id: Seeds sampling.
        content: The encoded image.
        configs: How to decode it; a caption for each.
        outcome: Its captions, or why it has none.
        number: Its number in messages.
        stage: How far it is.
        tries: Processes that ended while they had it.
        began: When it was queued, by `time.monotonic`.
    """

    image_id: str
    content: bytes
    configs: tuple[GenerateConfig, ...]
    outcome: asyncio.Future[tuple[Prediction, ...] | ApiError]
    number: int = field(default_factory=lambda: next(_NUMBERS))
    stage: Stage = Stage.WAITING
    tries: int = 0
    began: float = field(default_factory=time.monotonic)

    def settle(self, outcome: tuple[Prediction, ...] | ApiError) -> None:
        """Give the result to the request, if it still waits."""
        if not self.outcome.done():
            self.outcome.set_result(outcome)
