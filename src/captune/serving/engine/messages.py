"""Messages between a server and the process that holds a model, sent through pipes."""

from __future__ import annotations

from dataclasses import dataclass

from captune.inference import RunRequest
from captune.recipe import GenerateConfig
from captune.records import Prediction


@dataclass(frozen=True, slots=True)
class LoadModel:
    """The first message to the process.

    Attributes:
        request: The model.
        max_batch: Maximum number of images per batch.
        max_pixels: Images with more pixels are rejected.
        warmup: Whether to run the model once before replying.
    """

    request: RunRequest
    max_batch: int
    max_pixels: int
    warmup: bool


@dataclass(frozen=True, slots=True)
class Loaded:
    """The model is ready.

    Attributes:
        hardware: Device and precision that run it.
        defaults: Its default decoding settings, complete.
    """

    hardware: str
    defaults: GenerateConfig


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """The model cannot be loaded."""

    error: Exception


@dataclass(frozen=True, slots=True)
class CaptionImage:
    """A request for the captions of one image.

    Attributes:
        job: Number of the job.
        image_id: Id that seeds sampling.
        content: The encoded image.
        configs: Complete decoding settings; one caption per entry.
        is_alone: Whether it must not share a batch.
        is_streamed: Whether to send its words while it is captioned.
    """

    job: int
    image_id: str
    content: bytes
    configs: tuple[GenerateConfig, ...]
    is_alone: bool = False
    is_streamed: bool = False


@dataclass(frozen=True, slots=True)
class Cancel:
    """A job is no longer wanted."""

    job: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """A job that was no longer wanted has left the model."""

    job: int


@dataclass(frozen=True, slots=True)
class Started:
    """Images go to the model together, as a batch or to join one."""

    jobs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class WordsSoFar:
    """The beginning of a caption, which will not change; more of it than in the message before."""

    job: int
    text: str


@dataclass(frozen=True, slots=True)
class StillRunning:
    """The model has appended tokens to captions; sent about once per second."""


@dataclass(frozen=True, slots=True)
class Captioned:
    """The captions of an image, one per config, and the seconds that decoding the image took."""

    job: int
    predictions: tuple[Prediction, ...]
    decode_seconds: float


@dataclass(frozen=True, slots=True)
class Refused:
    """An image has no caption.

    Attributes:
        job: Number of the job.
        reason: `what` of the image's error; `model_error` if the model failed.
        detail: Description of the problem, for the log.
    """

    job: int
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class BatchDone:
    """A batch is complete, or as many images of a continuous one.

    Attributes:
        size: Number of images.
        seconds: Time that the model took.
    """

    size: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Printed:
    """A line that a library printed."""

    line: str
