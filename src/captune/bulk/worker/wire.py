"""What goes through the pipes between a run and the process that holds its model."""

from __future__ import annotations

from dataclasses import dataclass

from captune.data import DecodeMode
from captune.errors import CaptuneError, ImageError, ModelError
from captune.inference import AnyImage, RunRequest
from captune.recipe import GenerateConfig
from captune.records import Prediction
from captune.workers import Warned


@dataclass(frozen=True, slots=True)
class Ready:
    """The model is loaded; `hardware` runs it."""

    hardware: str


USUAL_BATCH = 16
"""Images per message where the model's process chooses the batch size."""


@dataclass(frozen=True, slots=True)
class Complete:
    """Fill in unset decoding settings; answered by the settings themselves."""

    decoding: GenerateConfig


@dataclass(frozen=True, slots=True)
class StartStream:
    """Caption a stream of images."""

    config: GenerateConfig
    batch_size: int | None
    decode: DecodeMode


@dataclass(frozen=True, slots=True)
class Want:
    """More images are wanted; answered by `Images`."""


@dataclass(frozen=True, slots=True)
class Images:
    """The next images; none: there are no more."""

    images: tuple[tuple[str, AnyImage], ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """One image cannot be used."""

    name: str
    error: ImageError


@dataclass(frozen=True, slots=True)
class Broken:
    """The stream, or loading, ended with an error."""

    error: Exception

    def as_load_error(self, where: str = "") -> CaptuneError:
        """Return the error of loading a model; one without a fix gets one."""
        if isinstance(self.error, CaptuneError):
            return self.error
        return ModelError(
            f"the model cannot be loaded: {self.error}",
            where=where,
            fix="caption one image with --debug --engine local to see the whole error",
        )


@dataclass(frozen=True, slots=True)
class Done:
    """The stream is complete."""


Message = (
    Ready
    | Complete
    | StartStream
    | Want
    | Images
    | Failed
    | Broken
    | Warned
    | Done
    | Prediction
    | GenerateConfig
    | RunRequest
)
