"""Several models caption the same images one after another, each loaded once and then freed."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from captune.data import DecodeMode, SkippedImage
from captune.errors import ModelError
from captune.evaluation.predict_records import predict
from captune.hub import find_model
from captune.inference import load
from captune.recipe import GenerateConfig
from captune.records import CaptionRecord, Prediction

Progress = Callable[[str, Prediction | SkippedImage], None]
"""Called once per image and model: the model's name, and its caption or the skipped image."""


@dataclass(frozen=True, slots=True)
class ComputeOptions:
    """Where and how models run.

    Attributes:
        device: `auto` or a torch device name.
        precision: `auto`, `fp32`, `bf16` or `fp16`.
        batch_size: Images per batch; `None`: by the free memory.
        decode: Where images are decoded: `isolated` or `inline`.
    """

    device: str
    precision: str
    batch_size: int | None
    decode: DecodeMode = "inline"


@dataclass(frozen=True)
class CaptionedImages:
    """Captions of the same images by several models.

    Attributes:
        predictions: Name of the model -> its captions.
        skipped: Images that could not be read, each listed once.
        hardware: Description of device, chip, memory and precision.
        seconds: Captioning time per model, without loading.
    """

    predictions: Mapping[str, Sequence[Prediction]]
    skipped: Sequence[SkippedImage]
    hardware: str
    seconds: Mapping[str, float]


def caption_with(
    models: Mapping[str, str],
    records: Sequence[CaptionRecord],
    *,
    config: GenerateConfig,
    compute: ComputeOptions,
    progress: Progress | None = None,
) -> CaptionedImages:
    """Caption the same images with every model.

    Args:
        models: Name -> folder, run's folder or hub id; all folders are checked before the first
            model starts.
        records: Images.
        config: How to decode, the same for all.
        compute: Where and how to run.
        progress: See `Progress`.

    Raises:
        ModelError: A model cannot be loaded.
        RecipeError: The device is not available, or does not support the precision.
    """
    places = {name: find_model(source) for name, source in models.items()}
    predictions: dict[str, list[Prediction]] = {}
    seconds: dict[str, float] = {}
    skipped: dict[str, SkippedImage] = {}
    hardware = ""
    for name, source in places.items():
        loaded = load(source, device=compute.device, precision=compute.precision)
        hardware = loaded.describe()

        def report(outcome: Prediction | SkippedImage, model: str = name) -> None:
            if isinstance(outcome, SkippedImage):
                skipped[outcome.image_id] = outcome
            if progress is not None:
                progress(model, outcome)

        started = time.monotonic()
        predictions[name] = predict(
            loaded,
            records,
            config=config,
            batch_size=compute.batch_size,
            decode=compute.decode,
            progress=report,
        )
        seconds[name] = time.monotonic() - started
        # Two models together may not fit into memory.
        del loaded
        gc.collect()
    return CaptionedImages(predictions, tuple(skipped.values()), hardware, seconds)


def name_models(sources: Iterable[str]) -> dict[str, str]:
    """Return short, distinct names of models: `runs/a/model` and `runs/b/model` are `a` and `b`.

    Where names of one part are equal, all get as many parts as make them distinct.

    Returns:
        Name -> source, in the given order.

    Raises:
        ModelError: A model is given twice.
    """
    given = list(sources)
    duplicate = next((source for source in given if given.count(source) > 1), None)
    if duplicate is not None:
        raise ModelError(f"the model {duplicate} is given twice", fix="give each model once")
    parts = [_name_parts(source) for source in given]
    for length in range(1, max(map(len, parts), default=0) + 1):
        short = ["/".join(each[-length:]) for each in parts]
        if len(set(short)) == len(short):
            return dict(zip(short, given, strict=True))
    return {source: source for source in given}


def _name_parts(source: str) -> list[str]:
    parts = [part for part in Path(source).parts if part not in ("/", ".", "..", "~")]
    if len(parts) > 1 and parts[-1] == "model":
        parts.pop()
    return parts or [source]
