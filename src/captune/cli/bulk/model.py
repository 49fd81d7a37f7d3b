"""The model of `captune caption`, loaded when the first image needs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from captune.errors import RecipeError

if TYPE_CHECKING:
    from captune.bulk import RunEngine, StreamCaptioner


@dataclass(frozen=True, slots=True)
class CommandModel:
    """A model as the flags name it.

    Attributes:
        model: Folder or hub id.
        backend: What runs it.
        device: Device, or `auto`.
        precision: Precision, or `auto`.
        revision: Hub revision; `None`: the newest.
        engine: Where it runs: on this machine or on a Ray cluster.
    """

    model: str
    backend: Any
    device: str
    precision: Any
    revision: str | None
    engine: RunEngine

    def made_by(self) -> Mapping[str, object]:
        """Return what identifies the model."""
        from captune.inference import digest_model

        digest = digest_model(self.model)
        return {"model": self.model, "revision": self.revision, "digest": digest}

    def load(self, num_images: int, *, was_killed: bool = False) -> StreamCaptioner:
        """Load the model; see `open_model`."""
        from captune.bulk import open_model
        from captune.inference import RunRequest

        request = RunRequest(
            self.model, self.backend, num_images, self.device, self.precision, self.revision
        )
        try:
            return open_model(request, was_killed=was_killed, engine=self.engine)
        except RecipeError as error:
            # Recipes share this check, so it names their keys.
            where = error.where.replace("train.", "--")
            raise RecipeError(error.what, where=where, fix=error.fix) from error
