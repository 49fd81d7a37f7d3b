"""What goes through the pipes between a server and the process that holds a model."""

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
        max_batch: Images captioned at once.
        max_pixels: Images with more are refused.
        warmup: Whether an image is captioned before the answer.
    """

    request: RunRequest
    max_batch: int
    max_pixels: int
    warmup: bool


@dataclass(frozen=True, slots=True)
class Loaded:
    """The model is ready.

    Attributes:
        hardware: What runs it.
        defaults: How it decodes unless a request says otherwise.
    """

    hardware: str
    defaults: GenerateConfig


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """The model cannot be loaded."""

    error: Exception


@dataclass(frozen=True, slots=True)
class CaptionImage:
    """Caption an image.

    Attributes:
        job: Number of the job.
        image_id: Seeds sampling.
        content: The encoded image.
        configs: How to decode it, complete; a caption for each.
    """

    job: int
    image_id: str
    content: bytes
    configs: tuple[GenerateConfig, ...]


@dataclass(frozen=True, slots=True)
class Cancel:
    """Nobody waits for a job any more."""

    job: int


@dataclass(frozen=True, slots=True)
class Started:
    """A batch goes to the model."""

    jobs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Captioned:
    """The captions of an image, one per config; the seconds that decoding the image took."""

    job: int
    predictions: tuple[Prediction, ...]
    decode_seconds: float


@dataclass(frozen=True, slots=True)
class Refused:
    """An image has no caption.

    Attributes:
        job: Number of the job.
        reason: `what` of the image's error; `model_error` if the model failed.
        detail: What is wrong, in words.
    """

    job: int
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class BatchDone:
    """A batch is complete.

    Attributes:
        size: Its images.
        seconds: Time in the model.
    """

    size: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Printed:
    """A line that a library printed."""

    line: str
