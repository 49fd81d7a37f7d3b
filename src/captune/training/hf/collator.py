"""Collate rows of a script's own data set to the inputs of a `CaptionTrainer`.

All captions of an image are packed into one row behind one vision pass, and tokenized the way the
model generates them; the loss ignores padding. See `Captioner` and `pack_captions`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from captune.caption_cells import NotTextError, list_texts
from captune.data import (
    CAPTION_COLUMNS,
    IMAGE_COLUMNS,
    decode_image,
    find_column,
    image_from_array,
    upright_rgb,
)
from captune.errors import DataError, ImageError
from captune.models import Captioner
from captune.records import CaptionBatch, CaptionRecord, TarMember, VisionInputs, ZipMember
from captune.storage import expand_home

_log = logging.getLogger("captune.training")

Inputs = dict[str, Any]
"""The fields of a `CaptionBatch` by name, its vision inputs by theirs (`pixel_values`), and
`readable` and `references` for evaluation."""

Example = CaptionRecord | Mapping[str, Any]
"""A record, or a row with an image and its caption or captions."""

_PIXELS = "pixel_values"
_EXTRA_KEYS = {"readable", "references"}


class CaptionCollator:
    """Converts examples to inputs; holds no model, so that worker processes stay small.

    An example is a `CaptionRecord`, or a row: a mapping with an image (PIL, path, bytes, uint8
    array, or the hub's `{"bytes", "path"}`; or ready `pixel_values`) and its caption or captions.
    For an image that cannot be read a warning is logged; the loss and the scores skip it.

    Args:
        captioner: Provides the tokenizer and the image processor.
        max_caption_tokens: Captions are truncated to this many tokens, start and end included.
        lower_case: Lower-case the captions used in training; references stay as they are.
        image_column: Key of the image in a row; `None`: found by its usual names.
        caption_column: Key of the caption or captions; `None`: found by its usual names.
    """

    def __init__(
        self,
        captioner: Captioner,
        *,
        max_caption_tokens: int = 64,
        lower_case: bool = False,
        image_column: str | None = None,
        caption_column: str | None = None,
    ) -> None:
        self._encoder = captioner.caption_encoder()
        self._transform = captioner.image_transform()
        self._max_caption_tokens = max_caption_tokens
        self._lower_case = lower_case
        self._columns = (image_column, caption_column)
        self._warned: set[str] = set()

    def __call__(self, examples: Sequence[Example]) -> Inputs:
        """Return the inputs of one forward pass over B examples.

        Returns:
            The fields of `CaptionBatch` that are set, with the vision inputs by their names
            (`pixel_values`); `readable`, bool (B,); and `references`, the unchanged human captions
            per image.

        Raises:
            DataError: A row has no image or no caption column, or holds something else in it.
        """
        rows = [self._row(example) for example in examples]
        seen = [self._vision_inputs(row) for row in rows]
        tokens = [
            self._token_ids(row.captions) if image is not None else self._no_caption()
            for row, image in zip(rows, seen, strict=True)
        ]
        batch = self._encoder.pack(tokens, [row.image_id for row in rows])
        shown = [self._blank() if image is None else image for image in seen]
        return {
            **batch_inputs(replace(batch, vision_inputs=VisionInputs.join(shown))),
            "readable": torch.tensor([image is not None for image in seen]),
            "references": tuple(row.captions for row in rows),
        }

    def _row(self, example: Example) -> _Row:
        if isinstance(example, CaptionRecord):
            return _Row(example.image_id, example.image, _texts(example.captions))
        names = [str(name) for name in example]
        asked_image, asked_caption = self._columns
        image = find_column(names, asked_image, usual=(_PIXELS, *IMAGE_COLUMNS))
        caption = find_column(names, asked_caption, usual=CAPTION_COLUMNS)
        if image is None or (caption is None and asked_caption is not None):
            raise _no_column(names, "image" if image is None else "caption")
        if caption is None and "input_ids" in names:
            raise _no_column(names, "caption")
        captions = () if caption is None else _texts(example[caption])
        shown = example[image]
        if image == _PIXELS:
            shown = _ready_pixels(shown)
        return _Row(str(example.get("image_id", "")), shown, captions)

    def _vision_inputs(self, row: _Row) -> VisionInputs | None:
        """Return one image's inputs; `None`: it cannot be read, which is logged once."""
        if isinstance(row.image, torch.Tensor):
            return VisionInputs.of_pixels(row.image.float()[None])
        try:
            return self._transform(_decode(row.image))
        except ImageError as error:
            fault = f"{row.image_id or 'an image'}: {error.what} ({error.where})"
            if fault not in self._warned:
                self._warned.add(fault)
                _log.warning("%s: skipped in training and scores", fault)
            return None

    def _token_ids(self, captions: Sequence[str]) -> list[tuple[int, ...]]:
        texts = [c.lower() if self._lower_case else c for c in captions]
        limit = self._max_caption_tokens
        return [self._encoder.encode(c, limit).token_ids for c in texts] or self._no_caption()

    def _no_caption(self) -> list[tuple[int, ...]]:
        """Return a caption without words; its tokens are excluded from the loss."""
        return [self._encoder.prefix_ids]

    def _blank(self) -> VisionInputs:
        return self._transform(Image.new("RGB", (64, 64)))


def batch_inputs(batch: CaptionBatch) -> Inputs:
    """Return a batch as a dict, which Trainer and accelerate can move and count."""
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    inputs = values.pop("vision_inputs")
    given = {name: value for name, value in values.items() if value is not None}
    return given if inputs is None else {**given, **inputs.tensors}


def inputs_batch(inputs: Mapping[str, Any]) -> CaptionBatch:
    """Return the batch that inputs were built from."""
    given = {f.name: inputs[f.name] for f in fields(CaptionBatch) if f.name in inputs}
    known = {*given, *_EXTRA_KEYS}
    seen = {
        name: value
        for name, value in inputs.items()
        if name not in known and isinstance(value, torch.Tensor)
    }
    if seen:
        given["vision_inputs"] = VisionInputs(seen)
    # Pinning memory turns tuples into lists.
    return CaptionBatch(**{**given, "image_ids": tuple(inputs["image_ids"])})


@dataclass(frozen=True, slots=True)
class _Row:
    """One example whose image is not decoded yet."""

    image_id: str
    image: Any
    captions: tuple[str, ...]


def _texts(value: object) -> tuple[str, ...]:
    """Return the captions of one field, a text or a list of texts, without empty ones.

    Raises:
        DataError: It holds something else.
    """
    given = value.tolist() if isinstance(value, np.ndarray) else value
    try:
        return tuple(text for text in list_texts(given) if text.strip())
    except NotTextError as error:
        raise DataError(
            error.what,
            where="CaptionCollator",
            fix="give text or a list of texts, or name another key with caption_column=...",
        ) from error


def _ready_pixels(values: object) -> torch.Tensor:
    """Return pixels that the model's processor has made, float (C, H, W).

    `datasets` gives them as nested lists unless another format was set, and a processor adds an
    axis of length 1.
    """
    try:
        pixels = torch.as_tensor(values, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{_PIXELS} of type {type(values).__name__} are not an array of numbers",
            where="CaptionCollator",
            fix="give the processor's values of one image, or name the key of the images with"
            " image_column=...",
        ) from error
    pixels = pixels[0] if pixels.ndim == 4 and len(pixels) == 1 else pixels
    if pixels.ndim != 3:
        raise DataError(
            f"{_PIXELS} have the shape {tuple(pixels.shape)}",
            where="CaptionCollator",
            fix="give one image per row: (channels, height, width)",
        )
    return pixels


def _decode(image: Any) -> Image.Image:
    if isinstance(image, Mapping):  # a hub data set with decode=False
        image = image["bytes"] if image.get("bytes") is not None else image.get("path")
    if isinstance(image, Image.Image):
        return upright_rgb(image)
    if isinstance(image, np.ndarray):
        return upright_rgb(image_from_array(image, name="the image of a row"))
    # pandas has NaN for a missing value.
    if image is None or (isinstance(image, float) and math.isnan(image)):
        raise ImageError("missing", where="the row has no image")
    if not isinstance(image, str | bytes | Path | ZipMember | TarMember):
        raise DataError(
            f"the image of a row is of type {type(image).__name__}",
            where="CaptionCollator",
            fix="give a path, encoded bytes, a PIL image or a uint8 array (height, width, 3), or"
            " name another key with image_column=...",
        )
    return decode_image(expand_home(image) if isinstance(image, str) else image)


def _no_column(names: Sequence[str], kind: str) -> DataError:
    return DataError(
        f"a row has no {kind}; its keys are: {', '.join(names)}",
        where="CaptionCollator",
        fix=f"name its key with {kind}_column=...; captions must be text, because captune"
        " tokenizes them the way the model generates them",
    )
