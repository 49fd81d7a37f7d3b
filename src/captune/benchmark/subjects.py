"""What is measured: a model, and the images and captions of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from captune.data import LoadOptions, load_records
from captune.errors import DataError
from captune.hub import find_model
from captune.inference import ImageFile, ImageSearch
from captune.models import SIZES, Captioner, load_captioner, new_captioner
from captune.recipe import ModelConfig
from captune.records import CaptionRecord
from captune.suggest import format_count

_CHECK = "look at the data set with: captune data check DATA"


def read_subjects(
    data: str, options: LoadOptions, *, max_images: int, needs_captions: bool
) -> list[CaptionRecord]:
    """Return the first images of a data set, of its training split if it has one.

    Args:
        data: Folder, file, hub id, `shapes[:COUNT]` or a run's folder.
        options: How to read it.
        max_images: Maximum number of images.
        needs_captions: Whether to skip images without a caption.

    Raises:
        DataError: The data set cannot be read, or no image is left.
    """
    loaded = _load(data, options, needs_captions=needs_captions)
    records = [r for r in loaded if r.split in (None, "train")] or list(loaded)
    if needs_captions:
        captioned = [r for r in records if any(caption.strip() for caption in r.captions)]
        if records and not captioned:
            raise DataError(
                f"no image of {data} has a caption ({format_count(len(records), 'image')})",
                where="--data",
                fix=f"training is measured with captions; {_CHECK}",
            )
        records = captioned
    if not records:
        raise DataError(f"{data} has no images", where="--data", fix=_CHECK)
    return records[:max_images]


def _load(data: str, options: LoadOptions, *, needs_captions: bool) -> Sequence[CaptionRecord]:
    """Return the records of a data set, or the bare images of a folder if these suffice."""
    try:
        return load_records(data, options).records
    except DataError:
        if needs_captions or not Path(data).is_dir():
            raise
        paths = [one.path for one in ImageSearch().expand(data) if isinstance(one, ImageFile)]
        if not paths:
            raise
    return [CaptionRecord(str(path), path, ()) for path in paths]


def load_subject(
    model: str, records: Sequence[CaptionRecord], *, image_size: int | None = None
) -> Captioner:
    """Return the model to measure, on the CPU, with nothing frozen.

    Args:
        model: Folder, run's folder, hub id, or a named size, which gets random weights and a
            tokenizer of the records' captions.
        records: Images with captions.
        image_size: Side of the square input of a named size; `None`: its default.

    Raises:
        ModelError: The model does not exist or cannot be used.
    """
    if model in SIZES and not Path(model).exists():
        captions = [caption for record in records for caption in record.captions] or ["a photo"]
        return new_captioner(ModelConfig(size=model, image_size=image_size), captions, seed=0)
    return load_captioner(find_model(model))


def has_random_text(captioner: Captioner) -> bool:
    """Return whether the text side was never trained: all its norms are as they start.

    Random weights end a caption anywhere, so that two runs would do different amounts of work.
    """
    norms = [
        module
        for part in captioner.parts().named["text"]
        for module in part.modules()
        if isinstance(module, nn.LayerNorm)
    ]
    return bool(norms) and all(_is_new(norm) for norm in norms)


def _is_new(norm: nn.LayerNorm) -> bool:
    is_one = norm.weight is None or bool((norm.weight == 1).all())
    return is_one and (norm.bias is None or bool((norm.bias == 0).all()))
