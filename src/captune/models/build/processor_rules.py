"""Allowed settings of an image processor, and a trial on two small images.

A broken processor fails on the first image, deep inside Pillow or numpy; one that returns images
of different sizes fails when two of them are stacked in a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassError
from PIL import Image

from captune.errors import MODEL_FAULTS, ModelError
from captune.models.build.config_rules import (
    Rule,
    booleans,
    check_values,
    integers,
    numbers,
)
from captune.models.vision.image_transform import Transform
from captune.records import VisionInputs

_PIXELS = "pixel_values"
_MAX_SIDE = 4_096
_RULES = (
    integers("height|width|shortest_edge|longest_edge|max_height|max_width", low=1, high=_MAX_SIDE),
    numbers("rescale_factor", low=1e-6, high=1e6),
    Rule("image_mean", "three numbers from -1,000 to 1,000", lambda v: _are_three(v, -1_000)),
    Rule("image_std", "three numbers from 1e-06 to 1,000", lambda v: _are_three(v, 1e-6)),
    integers("resample", low=0, high=5),
    integers("size_divisor|patch_size", low=1, high=_MAX_SIDE),
    booleans(r"do_\w+"),
)
# Different shapes, to detect a processor that keeps the aspect ratio.
_TRIALS = ((61, 47), (40, 90))
FAILURES: tuple[type[Exception], ...] = (*MODEL_FAULTS, ImportError, StrictDataclassError)
"""Exceptions that transformers, torch, numpy and Pillow raise for inconsistent values."""


def check_processor(settings: Any, file: str, *, where: str) -> None:
    """Check the settings of an image processor.

    Args:
        settings: The processor's JSON object.
        file: The file's path or hub address, for errors.
        where: Recipe key or argument, for errors.

    Raises:
        ModelError: A value is not allowed; the message names its key and the range.
    """
    for key in ("size", "crop_size"):
        side = settings.get(key) if isinstance(settings, dict) else None
        if side is not None and not isinstance(side, dict):
            # Old files hold one number for a square, or height and width.
            rule = integers(key, low=1, high=_MAX_SIDE, or_list=True)
            check_values({key: side}, (rule,), file=file, where=where)
    check_values(settings, _RULES, file=file, where=where)


def try_transform(make: Callable[[], Transform], source: str, *, where: str) -> VisionInputs:
    """Return the model inputs of one image, which have the same shapes for every image.

    Args:
        make: Returns a captioner's image transform.
        source: Folder or hub id of the image processor, for errors.
        where: Recipe key or argument, for errors.

    Raises:
        ModelError: It fails on an image, or its output is not RGB, not finite, or varies in size.
    """
    what = f"the image processor of {source!r}"
    fix = "set size to the original model's height and width in preprocessor_config.json"
    noise = np.random.default_rng(0)
    images = [
        Image.fromarray(noise.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in _TRIALS
    ]
    try:
        transform = make()
        first, second = (transform(image) for image in images)
        pairs = {name: (tensor, second.tensors[name]) for name, tensor in first.tensors.items()}
    except FAILURES as error:
        raise ModelError(f"{what} fails on an image: {error}", where=where, fix=fix) from error
    for name, (one, other) in pairs.items():
        returned = "images" if name == _PIXELS else repr(name)
        if one.shape != other.shape:
            sizes = [tuple(t.shape[2 if name == _PIXELS else 1 :]) for t in (one, other)]
            raise ModelError(
                f"{what} returns {returned} of different sizes: {sizes[0]} and {sizes[1]}",
                where=where,
                fix=fix,
            )
        is_rgb = one.ndim == 4 and one.shape[1] == 3
        if (name == _PIXELS and not is_rgb) or not (_is_finite(one) and _is_finite(other)):
            needed = "finite numbers" + " (3, height, width)" * (name == _PIXELS)
            raise ModelError(
                f"{what} returns {tuple(one.shape[1:])} {one.dtype}, not {needed}",
                where=name if name != _PIXELS else where,
                fix=fix,
            )
    return first


def _are_three(value: Any, low: float) -> bool:
    one = numbers("", low=low, high=1_000)
    values = value if isinstance(value, list) else [value] * 3
    return len(values) == 3 and all(each is not None and one.allows(each) for each in values)


def _is_finite(pixels: torch.Tensor) -> bool:
    return bool(torch.isfinite(pixels.float()).all())
