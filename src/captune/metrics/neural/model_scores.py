"""Metrics of models: each model is loaded once per process, each image embedded once per model."""

from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path

from captune.errors import MetricError
from captune.metrics.counting.candidates import Candidates
from captune.metrics.counting.references import References
from captune.metrics.metric_inputs import ImageSet, MetricInputs
from captune.metrics.neural.bert import DEFAULT_BERT_MODEL, BertScorer, score_bert
from captune.metrics.neural.clip import (
    CLIP_WEIGHT,
    PAC_WEIGHT,
    ClipScorer,
    Features,
    embed_images_cached,
    embed_references,
    score_clip,
)
from captune.metrics.results import MetricColumn
from captune.storage import expand_home, find_cache_folder


def score_clip_model(candidates: Candidates, inputs: MetricInputs) -> dict[str, MetricColumn]:
    """Return CLIPScore and RefCLIPScore with `inputs.clip_model`.

    Raises:
        MetricError: There are no images.
        ModelError: The model cannot be loaded.
    """
    scorer = _open_clip(inputs.clip_model, None, inputs.device)
    plain, with_references = _score(candidates, scorer, inputs, weight=CLIP_WEIGHT)
    return {"clip_score": plain, "ref_clip_score": with_references}


def score_pac_model(candidates: Candidates, inputs: MetricInputs) -> dict[str, MetricColumn]:
    """Return PAC-S and RefPAC-S with `inputs.pac_checkpoint`.

    Raises:
        MetricError: There are no images, or there is no checkpoint.
        ModelError: The checkpoint cannot be loaded.

    Source: Sarto et al. 2023, Positive-augmented contrastive learning, section 3.
    """
    if inputs.pac_checkpoint is None:
        raise MetricError("PAC-S needs its checkpoint", fix="give its file or folder")
    path = expand_home(inputs.pac_checkpoint)
    if path.is_dir():
        scorer = _open_clip(str(path), None, inputs.device)
    else:
        scorer = _open_clip(inputs.clip_model, path, inputs.device)
    plain, with_references = _score(candidates, scorer, inputs, weight=PAC_WEIGHT)
    return {"pac_s": plain, "ref_pac_s": with_references}


def score_bert_model(candidates: Candidates, inputs: MetricInputs) -> dict[str, MetricColumn]:
    """Return BERTScore with `inputs.bert_model`; warn if the model has no baseline.

    Raises:
        MissingExtraError: bert_score is not installed.
        ModelError: The model cannot be loaded.
    """
    scorer = _open_bert(inputs.bert_model or DEFAULT_BERT_MODEL, inputs.device)
    if scorer.baseline is None:
        warnings.warn(
            f"bert_score publishes no baseline for {scorer.name}: only bert_score_raw is computed,"
            " with all layers; even unrelated captions score high on it",
            UserWarning,
            stacklevel=2,
        )
    return score_bert(candidates, scorer)


@lru_cache(maxsize=2)
def _open_clip(source: str, checkpoint: Path | None, device: str) -> ClipScorer:
    return ClipScorer.load(source, checkpoint=checkpoint, device=device)


@lru_cache(maxsize=1)
def _open_bert(source: str, device: str) -> BertScorer:
    return BertScorer.load(source, device=device)


def _score(
    candidates: Candidates, scorer: ClipScorer, inputs: MetricInputs, *, weight: float
) -> tuple[MetricColumn, MetricColumn]:
    references, images = candidates.references, inputs.images
    if images is None:
        raise MetricError("CLIPScore and PAC-S need the images", fix="give a folder of images")
    own = (scorer.fingerprint, references.content_hash)
    if own not in images.kept:
        # Another system scored on the same images reuses both.
        images.kept[own] = _embed_images(scorer, images, references, folder=inputs.feature_folder)
        images.kept[*own, "references"] = embed_references(references, scorer)
    return score_clip(
        candidates,
        scorer=scorer,
        image_features=images.kept[own],
        reference_features=images.kept[*own, "references"],
        weight=weight,
    )


def _embed_images(
    scorer: ClipScorer, images: ImageSet, references: References, *, folder: Path | None
) -> Features:
    return embed_images_cached(
        scorer,
        map(images.open, references.image_ids),
        keys=[images.key(image_id) for image_id in references.image_ids],
        folder=folder or find_cache_folder() / "image-features",
    )
