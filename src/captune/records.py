"""The typed records that captune's packages exchange.

Recipe -> [CaptionRecord] -> CaptionBatch -> loss -> model folder -> [Prediction] -> Scores.
Shapes: B images, L tokens per row, N captions, C channels, H and W pixels, S vision tokens,
D width. Imports no torch: tensors appear in annotations only.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

IGNORE_INDEX = -100
"""Label of a token without a loss (prefix, padding)."""

PADDING_CAPTION = -1
"""`caption_ids` of padding."""

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
FinishReason = Literal["eos", "length"]
TokenizerName = Literal["pycocoevalcap", "char", "zh", "ja-mecab"]
"""Splits captions into the words that metrics count; the table is in `captune.metrics`."""


@dataclass(frozen=True, slots=True)
class ZipMember:
    """An image inside a zip archive, read in place.

    Attributes:
        archive: The zip file.
        member: Name of the image inside it.
    """

    archive: Path
    member: str


@dataclass(frozen=True, slots=True)
class TarMember:
    """An image inside a tar archive that is not compressed, read in place.

    A tar has no table of contents: without the offset, finding one image means reading them all.

    Attributes:
        archive: The tar file.
        member: Name of the image inside it.
        offset: Position of its first byte in the archive.
        size: Its length in bytes.
    """

    archive: Path
    member: str
    offset: int
    size: int


ImageSource = Path | bytes | ZipMember | TarMember
"""Source of an image: a file, its encoded bytes, or a member of a zip or tar archive."""

EncodedImage = ImageSource | os.PathLike[str]
"""What decoders read: a source, or another object that stands for a file."""


@dataclass(frozen=True, slots=True)
class CaptionRecord:
    """One image with all its human captions.

    Attributes:
        image_id: Unique in a data set; the same in every run.
        image: The image, not decoded yet.
        captions: All human captions of the image, in file order; empty for images to caption.
        split: The split given by the data set; `None`: it gives none.
        group: Images of one group (frame, patient, film) stay in one split; `None`: no group.
        file_name: Name shown to the user, relative to the data set; empty: `image_id`.
    """

    image_id: str
    image: ImageSource
    captions: tuple[str, ...] = ()
    split: Split | None = None
    group: str | None = None
    file_name: str = ""


@dataclass(frozen=True, slots=True)
class VisionInputs:
    """The model inputs of B images as named tensors, one row per image in each.

    Most models take `pixel_values` alone. A family with tiles, several resolutions or masks names
    its own tensors in its image transform, and reads them in `Captioner.stage_input`; in between
    nobody needs to know the names.

    Attributes:
        tensors: Tensors (B, ...) by name.
    """

    tensors: Mapping[str, torch.Tensor]

    def __post_init__(self) -> None:
        sizes = {name: len(tensor) for name, tensor in self.tensors.items()}
        if len(set(sizes.values())) != 1:
            raise ValueError(f"vision inputs need one row per image in each tensor, not {sizes}")

    @classmethod
    def of_pixels(cls, pixel_values: torch.Tensor) -> VisionInputs:
        """Return the inputs of a model that takes only `pixel_values` (B, C, H, W)."""
        return cls({"pixel_values": pixel_values})

    @classmethod
    def join(cls, parts: Sequence[VisionInputs]) -> VisionInputs:
        """Return the rows of at least one part in one batch, in order."""
        import torch

        names = parts[0].tensors
        return cls({name: torch.cat([part.tensors[name] for part in parts]) for name in names})

    @property
    def pixel_values(self) -> torch.Tensor:
        """The tensor of models that take only pixels, (B, C, H, W)."""
        return self.tensors["pixel_values"]

    def __len__(self) -> int:
        """Return B."""
        return len(next(iter(self.tensors.values())))

    def rows(self, rows: slice) -> VisionInputs:
        """Return the inputs of some of the images."""
        return VisionInputs({name: tensor[rows] for name, tensor in self.tensors.items()})

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> VisionInputs:
        """Return the inputs with every tensor on `device`."""
        moved = {n: t.to(device, non_blocking=non_blocking) for n, t in self.tensors.items()}
        return VisionInputs(moved)

    def pin_memory(self) -> VisionInputs:
        """Return the inputs in memory that accelerators copy from without the CPU."""
        return VisionInputs({name: tensor.pin_memory() for name, tensor in self.tensors.items()})


@dataclass(frozen=True, slots=True)
class CaptionBatch:
    """B images, each once, with their captions packed side by side: one row per image.

    Exactly one of `vision_inputs` and `vision_features` is set. Labels are not shifted:
    the token at position i is predicted from position i - 1, and every caption starts with a
    prefix that has no loss, so that no token is predicted from another caption.

    Attributes:
        image_ids: B ids, in row order.
        input_ids: int64 (B, L).
        position_ids: int64 (B, L), from 0 in each caption.
        caption_ids: int64 (B, L), the caption of its row that a token belongs to; -1: padding.
        labels: int64 (B, L), `IGNORE_INDEX` on prefix and padding.
        vision_inputs: The images as the model takes them.
        vision_features: Output of the frozen part of the vision encoder, (B, S, D), or
            (B, C, H, W) where that part is a stack of convolutions.
        label_places: See `find_label_places`; set where the batch is on an accelerator.
    """

    image_ids: tuple[str, ...]
    input_ids: torch.Tensor
    position_ids: torch.Tensor
    caption_ids: torch.Tensor
    labels: torch.Tensor
    vision_inputs: VisionInputs | None = None
    vision_features: torch.Tensor | None = None
    label_places: torch.Tensor | None = None

    @property
    def num_label_tokens(self) -> int:
        """Number of tokens with a loss."""
        return int((self.labels != IGNORE_INDEX).sum())

    @property
    def num_captions(self) -> int:
        """N, the number of captions in all rows."""
        if self.caption_ids.numel() == 0:
            return 0
        return int((self.caption_ids.max(dim=1).values + 1).sum())

    def rows(self, rows: slice) -> CaptionBatch:
        """Return the batch of some of the images."""
        inputs, features = self.vision_inputs, self.vision_features
        return CaptionBatch(
            image_ids=self.image_ids[rows],
            input_ids=self.input_ids[rows],
            position_ids=self.position_ids[rows],
            caption_ids=self.caption_ids[rows],
            labels=self.labels[rows],
            vision_inputs=None if inputs is None else inputs.rows(rows),
            vision_features=None if features is None else features[rows],
        )

    def find_label_places(self) -> torch.Tensor:
        """Return where labels are predicted: the token before each, int64, rows one after another.

        Finding them on an accelerator would wait for it.
        """
        if self.label_places is not None:
            return self.label_places
        predicts = (self.labels != IGNORE_INDEX).roll(-1, dims=1)
        predicts[:, -1] = False
        return predicts.flatten().nonzero().squeeze(1)

    def to(self, device: torch.device | str) -> CaptionBatch:
        """Return the batch with every tensor on `device`."""
        leaves = not str(device).startswith("cpu") and self.labels.device.type == "cpu"
        batch = replace(self, label_places=self.find_label_places()) if leaves else self
        moved = {
            f.name: value.to(device, non_blocking=True)
            for f in fields(batch)
            if hasattr(value := getattr(batch, f.name), "to")
        }
        return replace(batch, **moved)


@dataclass(frozen=True, slots=True)
class Prediction:
    """A generated caption.

    Attributes:
        image_id: The image's id.
        caption: Decoded text without special tokens.
        mean_logprob: Mean natural-log probability per generated token, end token included.
        num_tokens: Generated tokens, end token included.
        finish_reason: `eos`, or `length` if `max_new_tokens` ended the caption.
        flags: Warnings such as `repetition` or `empty`.
    """

    image_id: str
    caption: str
    mean_logprob: float
    num_tokens: int
    finish_reason: FinishReason
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % bootstrap interval, in the metric's own unit."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of a set of predictions.

    Attributes:
        metrics: Corpus value by metric name; raw scales (COCO BLEU 0..1, `sacrebleu` 0..100).
        intervals: 95 % bootstrap interval by metric name, for metrics that have one.
        per_image: Metric name -> one value per image, in the order of `image_ids`.
        image_ids: The images scored.
        signature: Tokenizer, references, split, decoding and versions, in one line.
        signatures: The signature of each metric.
    """

    metrics: Mapping[str, float]
    intervals: Mapping[str, Interval]
    per_image: Mapping[str, Sequence[float]]
    image_ids: tuple[str, ...]
    signature: str
    signatures: Mapping[str, str] = field(default_factory=dict)

    @property
    def num_images(self) -> int:
        """Number of images scored."""
        return len(self.image_ids)
