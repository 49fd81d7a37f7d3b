"""CLIPScore, RefCLIPScore and PAC-S: how well captions fit their images, by a CLIP model.

Any CLIP model in Hugging Face's format rates, from the hub or a folder; two models are two
metrics. PAC-S is the same with its own checkpoint and `weight=2.0`. torch is imported when a model
is loaded, never with the package.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from captune.errors import MetricError, ModelError
from captune.files import open_whole
from captune.metrics.candidates import match_predictions
from captune.metrics.references import References
from captune.metrics.results import Floats, MetricColumn, MetricResults, mean_column

if TYPE_CHECKING:
    from PIL.Image import Image

PROMPT = "A photo depicts "
"""Stands before every caption, as in the paper."""

CLIP_WEIGHT = 2.5
"""CLIPScore's factor; PAC-S has 2.0."""

Features = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ClipScorer:
    """A CLIP model, loaded once.

    Attributes:
        name: What signatures call it.
        model: transformers' CLIPModel, in eval mode, float32.
        tokenizer: Of its text part.
        image_processor: Of its vision part.
        device: Where it computes.
        batch_size: Images or captions at once.
    """

    name: str
    model: Any
    tokenizer: Any
    image_processor: Any
    device: str
    batch_size: int

    @classmethod
    def load(cls, source: str | Path, *, device: str = "cpu", batch_size: int = 32) -> ClipScorer:
        """Load a model.

        Args:
            source: Hub id or folder, such as `openai/clip-vit-base-patch32`.
            device: A torch device.
            batch_size: Images or captions at once.

        Raises:
            ModelError: It is not there, or not a CLIP model.
        """
        from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

        try:
            model = CLIPModel.from_pretrained(source)
            tokenizer = AutoTokenizer.from_pretrained(source)
            # torchvision's resize gives other pixels, and scores, than the paper's PIL.
            processor = AutoImageProcessor.from_pretrained(source, backend="pil")
        except (OSError, ValueError) as error:
            raise ModelError(
                f"{source} cannot be loaded as a CLIP model: {str(error).splitlines()[0]}",
                fix="give a hub id or folder of a CLIP model, such as openai/clip-vit-base-patch32",
            ) from error
        model = model.float().eval().to(device)
        return cls(Path(source).name, model, tokenizer, processor, device, batch_size)

    def embed_images(self, images: Iterable[Image]) -> Features:
        """Features of images, each of length 1.

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
        """Features of captions, each of length 1; long ones are cut to the model's length.

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
    """Score CLIPScore and RefCLIPScore, 0 up to `weight` and up to about 1.

    Args:
        references: Human captions by image id.
        predictions: Image id -> caption, exactly the images of the references.
        image_features: float32 (N, D), of `scorer.embed_images`, in the order of the references.
        scorer: The model that made them.
        weight: 2.5 is CLIPScore's, 2.0 that of PAC-S.

    Returns:
        `clip_score` and `ref_clip_score`, to be bootstrapped like any other metric.

    Raises:
        MetricError: Ids do not fit, or there is not one row of features an image.

    Source: Hessel et al. 2021, CLIPScore, section 3.
    """
    if not isinstance(references, References):
        references = References(references)
    candidates = match_predictions(references, predictions)
    if len(image_features) != references.num_images:
        raise MetricError(
            f"{len(image_features)} rows of image features for {references.num_images} images",
            fix="embed the images of the references, in their order",
        )
    own = scorer.embed_captions(candidates.captions)
    others = scorer.embed_captions([text for texts in references.captions for text in texts])
    with_image = weight * np.maximum(_multiply_rows(own, image_features), 0.0)
    pairs = _multiply_rows(own[candidates.pair_candidates], others[candidates.pair_references])
    with_text = np.maximum.reduceat(pairs, candidates.pair_starts)
    both = with_image + with_text
    harmonic = np.divide(
        2.0 * with_image * with_text, both, out=np.zeros_like(both), where=both != 0
    )
    variant = f"model:{scorer.name}|weight:{weight:g}|dtype:fp32"
    columns = {
        "clip_score": mean_column(with_image, variant=variant),
        "ref_clip_score": mean_column(harmonic, variant=variant),
    }
    return _to_results(columns, references)


def embed_images_cached(
    scorer: ClipScorer, images: Iterable[Image], *, keys: Sequence[str], folder: Path | str
) -> Features:
    """Features of images, kept in a folder for the next system that is scored on them.

    Args:
        scorer: The model.
        images: N images, only read where the folder lacks them.
        keys: N hashes of the images' content.
        folder: Where the features are kept, one file a model and set of images.

    Returns:
        float32 (N, D).

    Raises:
        OutputError: The folder cannot be written.
    """
    digest = hashlib.sha256("\n".join([_fingerprint(scorer), *keys]).encode()).hexdigest()
    path = Path(folder) / f"clip-{digest[:32]}.npy"
    if path.exists():
        try:
            kept: Features = np.load(path, allow_pickle=False)
        except (OSError, ValueError):
            path.unlink(missing_ok=True)
        else:
            return kept
    features = scorer.embed_images(images)
    with open_whole(path) as file:
        np.save(file, features, allow_pickle=False)
    return features


def _fingerprint(scorer: ClipScorer) -> str:
    """What tells two models apart: their name and the first weights of the projections."""
    weights = [scorer.model.visual_projection.weight, scorer.model.text_projection.weight]
    content = b"".join(weight.detach().cpu().numpy().tobytes() for weight in weights)
    return f"{scorer.name}-{hashlib.sha256(content).hexdigest()}"


def _cut_batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def _to_features(output: Any) -> Features:
    """The projected output as rows of length 1."""
    rows = getattr(output, "pooler_output", output).float().cpu().numpy()
    features: Features = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return features


def _multiply_rows(one: Features, other: Features) -> Floats:
    """float64 (rows,), the product of each pair of rows."""
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
