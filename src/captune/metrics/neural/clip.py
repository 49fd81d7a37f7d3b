"""CLIPScore, RefCLIPScore and PAC-S: how well captions match their images in a CLIP model.

The model is any CLIP model in Hugging Face's format, from the hub or a folder; values of different
models are not comparable. PAC-S is the same with its own checkpoint and another factor. torch is
imported only when a model is loaded.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from captune.errors import MetricError, ModelError, OutputError
from captune.metrics.counting.candidates import Candidates, match_predictions
from captune.metrics.counting.reference_store import DAMAGED_ARRAYS
from captune.metrics.counting.references import References
from captune.metrics.results import Floats, MetricColumn, MetricResults, mean_column
from captune.storage import open_atomic
from captune.suggest import format_count

if TYPE_CHECKING:
    from PIL.Image import Image

PROMPT = "A photo depicts "
"""Prefix of every caption, as in the paper."""

CLIP_WEIGHT = 2.5
"""CLIPScore's factor."""

PAC_WEIGHT = 2.0
"""PAC-S's factor."""

Features = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ClipScorer:
    """A loaded CLIP model.

    Attributes:
        name: Name of the model in signatures.
        model: transformers' CLIPModel, in eval mode, float32.
        tokenizer: Tokenizer of its text part.
        image_processor: Image processor of its vision part.
        device: Torch device of the model.
        batch_size: Images or captions per batch.
    """

    name: str
    model: Any
    tokenizer: Any
    image_processor: Any
    device: str
    batch_size: int

    @classmethod
    def load(
        cls,
        source: str | Path,
        *,
        checkpoint: Path | None = None,
        device: str = "cpu",
        batch_size: int = 32,
    ) -> ClipScorer:
        """Load a model.

        Args:
            source: Hub id or folder, such as `openai/clip-vit-base-patch32`.
            checkpoint: A file of weights in OpenAI's format that replace the model's, as for
                PAC-S; `source` then gives only the tokenizer and the image processor.
            device: A torch device.
            batch_size: Images or captions per batch.

        Raises:
            ModelError: The model is missing, or is not a CLIP model.
        """
        from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

        from captune.metrics.neural.clip_checkpoint import load_clip_checkpoint

        model = None if checkpoint is None else load_clip_checkpoint(checkpoint)
        try:
            model = model or CLIPModel.from_pretrained(source)
            tokenizer = AutoTokenizer.from_pretrained(source)
            # torchvision's resize gives other pixels and scores than PIL's, which the paper uses.
            processor = AutoImageProcessor.from_pretrained(source, backend="pil")
        except (OSError, ValueError) as error:
            raise ModelError(
                f"{source} cannot be loaded as a CLIP model: {str(error).splitlines()[0]}",
                fix="give a hub id or folder of a CLIP model, such as openai/clip-vit-base-patch32",
            ) from error
        name = Path(source).name if checkpoint is None else checkpoint.stem
        _check_fit(model, tokenizer, processor, name=name)
        return cls(name, model.float().eval().to(device), tokenizer, processor, device, batch_size)

    @cached_property
    def fingerprint(self) -> str:
        """Identity of the model: its name and a hash of the weights of the projections."""
        import hashlib

        weights = [self.model.visual_projection.weight, self.model.text_projection.weight]
        content = b"".join(weight.detach().cpu().numpy().tobytes() for weight in weights)
        return f"{self.name}-{hashlib.sha256(content).hexdigest()}"

    def embed_images(self, images: Iterable[Image]) -> Features:
        """Return the features of images, normalized to length 1.

        Args:
            images: N images, read as they are needed.

        Returns:
            float32 (N, D).
        """
        import torch

        rows = []
        for batch in _cut_batches(images, self.batch_size):
            pixels = self.image_processor(
                images=[image.convert("RGB") for image in batch], return_tensors="pt"
            )["pixel_values"].to(self.device)
            with torch.inference_mode():
                rows.append(_to_features(self.model.get_image_features(pixel_values=pixels)))
        return np.concatenate(rows) if rows else np.zeros((0, 0), np.float32)

    def embed_captions(self, captions: Sequence[str]) -> Features:
        """Return the features of captions, normalized to length 1; long captions are truncated.

        Args:
            captions: M captions.

        Returns:
            float32 (M, D).
        """
        import torch

        different = list(dict.fromkeys(captions))
        rows = []
        for batch in _cut_batches(different, self.batch_size):
            inputs = self.tokenizer(
                [PROMPT + caption for caption in batch],
                padding=True,
                truncation=True,
                max_length=self.model.config.text_config.max_position_embeddings,
                return_tensors="pt",
            ).to(self.device)
            with torch.inference_mode():
                rows.append(
                    _to_features(
                        self.model.get_text_features(
                            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
                        )
                    )
                )
        place = {caption: row for row, caption in enumerate(different)}
        features: Features = np.concatenate(rows)[[place[caption] for caption in captions]]
        return features


def compute_clip_score(
    references: References | Mapping[str, Sequence[str]],
    predictions: Mapping[str, str],
    *,
    image_features: Features,
    scorer: ClipScorer,
    weight: float = CLIP_WEIGHT,
) -> MetricResults:
    """Return CLIPScore and RefCLIPScore for image features that are already computed.

    Args:
        references: Human captions by image id.
        predictions: Image id -> caption, for exactly the images of the references.
        image_features: float32 (N, D), result of `scorer.embed_images`, in the order of the
            references.
        scorer: The model that computed them.
        weight: 2.5 for CLIPScore, 2.0 for PAC-S.

    Returns:
        `clip_score` and `ref_clip_score`, which can be bootstrapped like any other metric.

    Raises:
        MetricError: Ids do not match, or there is not one row of features per image.
    """
    if not isinstance(references, References):
        references = References(references)
    candidates = match_predictions(references, predictions)
    others = embed_references(references, scorer)
    columns = score_clip(
        candidates,
        scorer=scorer,
        image_features=image_features,
        reference_features=others,
        weight=weight,
    )
    return _to_results(
        dict(zip(("clip_score", "ref_clip_score"), columns, strict=True)), references
    )


def score_clip(
    candidates: Candidates,
    *,
    scorer: ClipScorer,
    image_features: Features,
    reference_features: Features,
    weight: float,
) -> tuple[MetricColumn, MetricColumn]:
    """Return CLIPScore, 0 to `weight`, and RefCLIPScore, or PAC-S and RefPAC-S.

    Args:
        candidates: M captions.
        scorer: The model.
        image_features: float32 (N, D), one row per image, in the order of the references.
        reference_features: float32 (C, D), one row per reference caption.
        weight: Factor of the cosine.

    Raises:
        MetricError: There is not one row of features per image.

    Source: Hessel et al. 2021, CLIPScore, section 3.
    """
    references = candidates.references
    if len(image_features) != references.num_images:
        raise MetricError(
            f"{format_count(len(image_features), 'row')} of image features for"
            f" {format_count(references.num_images, 'image')}",
            fix="embed the images of the references, in their order",
        )
    own = scorer.embed_captions(candidates.captions)
    images = image_features[candidates.images]
    with_image = weight * np.maximum(_multiply_rows(own, images), 0.0)
    pairs = _multiply_rows(
        own[candidates.pair_candidates], reference_features[candidates.pair_references]
    )
    with_text = np.maximum.reduceat(pairs, candidates.pair_starts)
    both = with_image + with_text
    harmonic = np.divide(
        2.0 * with_image * with_text, both, out=np.zeros_like(both), where=both != 0
    )
    variant = f"model:{scorer.name}|weight:{weight:g}|dtype:fp32"
    return mean_column(with_image, variant=variant), mean_column(harmonic, variant=variant)


def embed_references(references: References, scorer: ClipScorer) -> Features:
    """Return the features of the reference captions, in their order, float32 (C, D)."""
    return scorer.embed_captions([text for texts in references.captions for text in texts])


def embed_images_cached(
    scorer: ClipScorer, images: Iterable[Image], *, keys: Sequence[str], folder: Path | str
) -> Features:
    """Return the features of images, saved in a folder for the next system scored on them.

    If the folder cannot be written, a warning is issued instead of an error.

    Args:
        scorer: The model.
        images: N images, read only if the folder does not have their features.
        keys: N hashes of the images' content.
        folder: Folder of the features, one file per model and set of images.

    Returns:
        float32 (N, D).
    """
    import hashlib

    digest = hashlib.sha256("\n".join([scorer.fingerprint, *keys]).encode()).hexdigest()
    path = Path(folder) / f"clip-{digest[:32]}.npy"
    kept = _read_features(path, (len(keys), scorer.model.config.projection_dim))
    if kept is not None:
        return kept
    features = scorer.embed_images(images)
    try:
        with open_atomic(path) as file:
            np.save(file, features, allow_pickle=False)
    except OutputError as error:
        warnings.warn(f"image features are not saved: {error.what}", UserWarning, stacklevel=2)
    return features


def _read_features(path: Path, shape: tuple[int, int]) -> Features | None:
    """Return saved features; `None`: there are none, or the file is damaged and gets replaced."""
    if not path.is_file():
        return None
    try:
        # Opened here, as numpy leaves a damaged file open.
        with path.open("rb") as file:
            kept: Any = np.load(file, allow_pickle=False)
    except DAMAGED_ARRAYS:
        return None
    # An archive of arrays opens as something else.
    is_whole = isinstance(kept, np.ndarray) and (kept.shape, kept.dtype) == (shape, np.float32)
    return kept if is_whole and np.isfinite(kept).all() else None


def _check_fit(model: Any, tokenizer: Any, processor: Any, *, name: str) -> None:
    """Check that weights match the tokenizer and image size; a mismatch fails late or never."""
    words = model.config.text_config.vocab_size
    side = model.config.vision_config.image_size
    given = getattr(processor, "crop_size", None) or getattr(processor, "size", None) or {}
    height = given.get("height", side)
    if len(tokenizer) != words or height != side:
        raise ModelError(
            f"{name} needs {words} tokens and images of {side} pixels; the tokenizer has"
            f" {len(tokenizer)} tokens, and the image processor gives {height} pixels",
            fix="give the CLIP model that these weights belong to",
        )


def _cut_batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def _to_features(output: Any) -> Features:
    """Return the projected output as rows normalized to length 1."""
    rows = getattr(output, "pooler_output", output).float().cpu().numpy()
    features: Features = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return features


def _multiply_rows(one: Features, other: Features) -> Floats:
    """Return the product of each pair of rows, float64 (rows,)."""
    products: Floats = np.einsum("nd,nd->n", one, other, dtype=np.float64)
    return products


def _to_results(columns: Mapping[str, MetricColumn], references: References) -> MetricResults:
    return MetricResults(
        image_ids=references.image_ids,
        corpus={name: column.corpus for name, column in columns.items()},
        per_image={n: c.per_image for n, c in columns.items() if c.per_image is not None},
        statistics={n: c.statistic for n, c in columns.items() if c.statistic is not None},
        signatures={
            name: f"{name}|{column.variant}|{references.description}"
            for name, column in columns.items()
        },
    )
