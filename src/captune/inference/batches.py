"""Batches of prepared images through a model, for callers that form batches themselves.

`stream` reads images until a batch is full. A server cannot wait for that: it captions the images
that have arrived.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from PIL import Image

from captune.recipe import GenerateConfig
from captune.records import Prediction


class RunningBatch(Protocol):
    """Images being captioned, one token at a time, which other images can join."""

    @property
    def next_number(self) -> int:
        """Number of the image that is added next; images are counted from 0."""

    @property
    def may_add(self) -> bool:
        """Whether images can join now; always true while none are running."""

    def add(self, batch: Sequence[tuple[str, Any]]) -> list[tuple[int, Prediction]]:
        """Start images; return the captions that end with their first token, by number.

        Args:
            batch: Pairs of an id, which seeds sampling, and the inputs from `prepare`.
        """

    def step(self) -> list[tuple[int, Prediction]]:
        """Append a token to all captions; return those that end with it, by number."""

    def drop(self, number: int) -> None:
        """Stop an image that has not ended, because nobody waits for its caption any more."""

    def text_so_far(self, number: int) -> str:
        """Return the text of a running image's tokens so far; empty in beam search."""


class BatchCaptioner(Protocol):
    """A model ready for batches; `prepare` may be called from many threads, the rest from one."""

    def prepare(self, image: Image.Image) -> Any:
        """Return the model inputs of an upright RGB image."""

    def caption(
        self, batch: Sequence[tuple[str, Any]], configs: Sequence[GenerateConfig]
    ) -> list[tuple[Prediction, ...]]:
        """Return the captions of each image, one per config; the images are encoded once.

        Args:
            batch: B pairs of an id, which seeds sampling, and the inputs from `prepare`.
            configs: Complete decoding settings; at least one.

        Raises:
            ModelError: The prompt leaves no room for a caption.
        """

    def run(self, config: GenerateConfig) -> RunningBatch | None:
        """Return a batch without images, which others join while it runs; `None`: not supported.

        Args:
            config: Complete decoding settings.

        Raises:
            ModelError: The prompt leaves no room for a caption.
        """
