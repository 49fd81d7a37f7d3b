"""Inputs of metrics besides captions: images, models, known objects, frequencies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from captune.metrics.counting.frequencies import DocumentFrequencies

if TYPE_CHECKING:
    from PIL.Image import Image

DEFAULT_CLIP_MODEL = "openai/clip-vit-base-patch32"
"""The model of CLIPScore's paper."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images by id, read when a metric needs them.

    Attributes:
        open: Called with an image id; returns the decoded image.
        key: Called with an image id; returns a hash of the image's content, the key of its
            features.
        kept: Features computed so far, for the next system scored on these images.
    """

    open: Callable[[str], Image]
    key: Callable[[str], str]
    kept: dict[tuple[str, ...], npt.NDArray[np.float32]] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, eq=False)
class MetricInputs:
    """Inputs of metrics besides captions; all are optional.

    Attributes:
        frequencies: CIDEr's document frequencies; `None`: counted in the references.
        images: Images for CLIPScore and PAC-S.
        clip_model: Hub id or folder of a CLIP model.
        pac_checkpoint: PAC-S weights: the file of its authors, or a folder with a CLIP model.
        samples: Image id -> several captions of it by one model, for Div, mBLEU and self-CIDEr.
        bert_model: Hub id or folder for BERTScore; `None`: roberta-large, and `all` skips
            BERTScore.
        objects: Image id -> words for objects known to be in it, for CHAIR.
        object_words: CHAIR's classes, one row each: name, then other words; `None`: COCO's.
        device: Torch device of the models.
        feature_folder: Folder that keeps image features between runs; `None`: the user's cache
            folder.
    """

    frequencies: DocumentFrequencies | None = None
    images: ImageSet | None = None
    clip_model: str = DEFAULT_CLIP_MODEL
    pac_checkpoint: str | None = None
    samples: Mapping[str, Sequence[str]] | None = None
    bert_model: str | None = None
    objects: Mapping[str, Sequence[str]] | None = None
    object_words: Sequence[Sequence[str]] | None = None
    device: str = "cpu"
    feature_folder: Path | None = None
