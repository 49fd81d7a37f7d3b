"""Inputs of metrics besides captions, from the options of `captune score`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from captune.records import TokenizerName
from captune.suggest import format_count

if TYPE_CHECKING:
    from captune.metrics import ImageSet, MetricInputs

Tokenize = Annotated[
    TokenizerName,
    typer.Option(
        # All of the names are in the help; a list of them here would squeeze every other column.
        metavar="NAME",
        help="Tokenizer that splits captions into words: pycocoevalcap for languages with spaces;"
        " char or zh for Chinese, char or ja-mecab for Japanese, char for Thai. The signature"
        " names it.",
    ),
]
"""`--tokenize` of every command that scores."""

Samples = Mapping[str, Sequence[str]]
"""Image id -> several captions by one model."""


@dataclass(frozen=True, slots=True)
class InputOptions:
    """Options that only some metrics use, as given."""

    document_frequencies: Path | None
    images: Path | None
    samples: Sequence[Path]
    clip_model: str | None
    pac_checkpoint: str | None
    bert_model: str | None
    objects: Path | None
    object_words: Path | None
    device: str
    cache: Path | None


def read_inputs(options: InputOptions) -> MetricInputs:
    """Read all inputs but the images, which are searched for once the ids are known.

    Raises:
        MetricError: A file cannot be read.
        RecipeError: The device is not available.
    """
    from captune.metrics import (
        DEFAULT_CLIP_MODEL,
        DocumentFrequencies,
        MetricInputs,
        read_object_words,
        read_objects,
    )

    given = options.document_frequencies
    return MetricInputs(
        frequencies=None if given is None else DocumentFrequencies.read(given),
        images=None,
        clip_model=options.clip_model or DEFAULT_CLIP_MODEL,
        pac_checkpoint=options.pac_checkpoint,
        bert_model=options.bert_model,
        objects=None if options.objects is None else read_objects(options.objects),
        object_words=None
        if options.object_words is None
        else read_object_words(options.object_words),
        device=_find_device(options.device),
        feature_folder=options.cache,
    )


def _find_device(name: str) -> str:
    """Return torch's name of the device; for the CPU without a slow import of torch.

    Raises:
        RecipeError: The device is not available.
    """
    if name == "cpu":
        return name
    from captune.hardware import choose_hardware

    return str(choose_hardware(name, "fp32", section="--").device)


def add_images(
    inputs: MetricInputs,
    image_ids: Sequence[str],
    *,
    folder: Path | None,
    files: Sequence[Path],
) -> MetricInputs:
    """Return the inputs with the images, if a folder is given or a file of captions names them.

    Args:
        inputs: The inputs read so far.
        image_ids: The images scored.
        folder: The value of `--images`.
        files: References and predictions; the later ones override the earlier ones.

    Raises:
        MetricError: Images are not found; the error names some.
    """
    from captune.metrics import find_image_files, read_image_names

    names: dict[str, str] = {}
    for path in files:
        names |= read_image_names(path)
    if folder is None and not names:
        return inputs
    return replace(
        inputs, images=open_images(find_image_files(image_ids, folder=folder, names=names))
    )


def read_sample_files(paths: Sequence[Path], systems: Sequence[str]) -> dict[str, Samples]:
    """Read several captions per image of each system, in the order of `--samples`.

    Args:
        paths: One file per system, or none at all.
        systems: Names of the files of predictions.

    Raises:
        MetricError: The number of files differs, or one cannot be read.
    """
    from captune.errors import MetricError
    from captune.metrics import read_samples

    if paths and len(paths) != len(systems):
        raise MetricError(
            f"{format_count(len(paths), 'file')} of samples for {len(systems)} of predictions",
            where="--samples",
            fix="give --samples once for each --predictions, in the same order",
        )
    return {name: read_samples(path) for name, path in zip(systems, paths, strict=False)}


def open_images(paths: Mapping[str, Path]) -> ImageSet:
    """Return images by id, decoded with the same limits as captioned images.

    Args:
        paths: Image id -> file.
    """
    from captune.data import decode_image, image_hash
    from captune.metrics import ImageSet

    return ImageSet(
        open=lambda image_id: decode_image(paths[image_id]),
        key=lambda image_id: image_hash(paths[image_id]),
    )
