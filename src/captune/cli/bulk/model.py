"""The model of `captune caption`, loaded when the first image needs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from captune.cli.flags.decoding import model_to_load
from captune.errors import RecipeError

if TYPE_CHECKING:
    from captune.inference import LoadedCaptioner


@dataclass(frozen=True, slots=True)
class CommandModel:
    """A model as the flags name it.

    Attributes:
        model: Folder or hub id.
        backend: What runs it.
        device: Device.
        precision: Precision.
        revision: Hub revision; `None`: the newest.
    """

    model: str
    backend: Any
    device: str
    precision: Any
    revision: str | None

    def made_by(self) -> Mapping[str, object]:
        """Return what identifies the model."""
        from captune.inference import digest_model

        digest = digest_model(self.model)
        return {"model": self.model, "revision": self.revision, "digest": digest}

    def load(self, num_images: int) -> LoadedCaptioner:
        """Return the model, for about so many images."""
        from captune.inference import RunRequest, load

        request = RunRequest(
            self.model, self.backend, num_images, self.device, self.precision, self.revision
        )
        try:
            return load(
                model_to_load(request),
                device=self.device,
                precision=self.precision,
                revision=self.revision,
            )
        except RecipeError as error:
            # Recipes share this check, so it names their keys.
            where = error.where.replace("train.", "--")
            raise RecipeError(error.what, where=where, fix=error.fix) from error
