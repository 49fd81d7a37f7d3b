"""One batch of prepared images through a model, for callers that form batches themselves.

`stream` reads images until a batch is full. A server cannot wait for that: it captions the images
that have arrived.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from PIL import Image

from captune.recipe import GenerateConfig
from captune.records import Prediction


class BatchCaptioner(Protocol):
    """A model ready for batches; `prepare` may be called from many threads, `caption` from one."""

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
