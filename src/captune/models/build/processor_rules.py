"""Allowed settings of an image processor, and a trial on two small images.

A broken processor fails on the first image, deep inside Pillow or numpy; one that returns images
of different sizes fails when two of them are stacked in a batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassError
from PIL import Image

from captune.errors import ModelError
from captune.models.build.config_rules import (
    Rule,
    booleans,
    check_values,
    integers,
    numbers,
)

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
FAILURES: tuple[type[Exception], ...] = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    MemoryError,
    RuntimeError,
    StrictDataclassError,
    TypeError,
    ValueError,
)
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


def try_processor(processor: Any, source: str, *, where: str) -> tuple[int, ...]:
    """Return the shape (C, H, W) of the image processor's output, the same for every image.

    Raises:
        ModelError: The processor fails on an image, or its output is not RGB or varies in size.
    """
    what = f"the image processor of {source!r}"
    fix = "set size to the original model's height and width in preprocessor_config.json"
    noise = np.random.default_rng(0)
    images = [
        Image.fromarray(noise.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in _TRIALS
    ]
    try:
        pixels = [processor([image], return_tensors="pt").pixel_values[0] for image in images]
    except FAILURES as error:
        raise ModelError(f"{what} fails on an image: {error}", where=where, fix=fix) from error
    shapes = [tuple(each.shape) for each in pixels]
    if shapes[0] != shapes[1]:
        raise ModelError(
            f"{what} returns images of different sizes: {shapes[0][1:]} and {shapes[1][1:]}",
            where=where,
            fix=fix,
        )
    if len(shapes[0]) != 3 or shapes[0][0] != 3 or not all(map(_is_finite, pixels)):
        raise ModelError(
            f"{what} returns {shapes[0]} {pixels[0].dtype}, not finite numbers (3, height, width)",
            where=where,
            fix=fix,
        )
    return shapes[0]


def _are_three(value: Any, low: float) -> bool:
    one = numbers("", low=low, high=1_000)
    values = value if isinstance(value, list) else [value] * 3
    return len(values) == 3 and all(each is not None and one.allows(each) for each in values)


def _is_finite(pixels: torch.Tensor) -> bool:
    return bool(torch.isfinite(pixels.float()).all())
