"""`captune.score`: captions against references in one call, with intervals and signatures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from captune.errors import MetricError
from captune.metrics.bootstrap import bootstrap_intervals
from captune.metrics.caption_files import read_predicted_captions, read_references
from captune.metrics.compute_metrics import compute
from captune.metrics.counting.references import References
from captune.records import Interval, Prediction, Scores

AnyReferences = References | Mapping[str, Sequence[str]] | str | Path
AnyPredictions = Mapping[str, str] | Sequence[Prediction] | str | Path


def score(
    references: AnyReferences,
    predictions: AnyPredictions,
    *,
    metrics: Sequence[str] = ("default",),
    bootstrap_samples: int = 1000,
    seed: int = 0,
) -> Scores:
    """Score one caption per image against human captions, like `captune score`.

    Args:
        references: Human captions by image id, a file of them, or `References`, which counts them
            once for many calls.
        predictions: Captions by image id, the result of `Captioner.caption`, or a file, with one
            caption for each image of the references.
        metrics: Names of metrics or groups, such as `cider` or `bleu`; `default` and `all` skip
            metrics that need an extra that is not installed.
        bootstrap_samples: Number of resamples for the 95 % intervals; 0: no intervals.
        seed: Seed of the resampling.

    Raises:
        MetricError: A metric is unknown, a file cannot be read, or references and predictions are
            not for the same images.
        MissingExtraError: A metric needs an extra that is not installed.
    """
    results = compute(_count(references), _captions(predictions), metrics=metrics)
    ends = (
        bootstrap_intervals(results, num_resamples=bootstrap_samples, seed=seed)
        if bootstrap_samples
        else {}
    )
    return Scores(
        metrics=dict(results.corpus),
        intervals={name: Interval(low, high) for name, (low, high) in ends.items()},
        per_image={name: values.tolist() for name, values in results.per_image.items()},
        image_ids=results.image_ids,
        signature=results.signature,
        signatures=dict(results.signatures),
    )


def _count(references: AnyReferences) -> References | Mapping[str, Sequence[str]]:
    if isinstance(references, str | Path):
        return read_references(Path(references))
    if not isinstance(references, References | Mapping):
        raise MetricError(
            f"the references are a {type(references).__name__}, which names no images",
            fix='give {"image_id": ["caption", ...]}; for lists in one order:'
            " dict(enumerate(references))",
        )
    return references


def _captions(predictions: AnyPredictions) -> Mapping[str, str]:
    if isinstance(predictions, str | Path):
        return read_predicted_captions(Path(predictions))
    if isinstance(predictions, Mapping):
        return predictions
    predictions = list(predictions) if isinstance(predictions, Iterable) else [predictions]
    strangers = [each for each in predictions if not isinstance(each, Prediction)]
    if strangers:
        raise MetricError(
            f"a prediction is {strangers[0]!r:.80}, which names no image",
            fix='give {"image_id": "caption"}, or the result of Captioner.caption; for lists in'
            " one order: dict(enumerate(predictions))",
        )
    captions = {prediction.image_id: prediction.caption for prediction in predictions}
    if len(captions) < len(predictions):
        ids = [prediction.image_id for prediction in predictions]
        duplicate = next(image_id for image_id in ids if ids.count(image_id) > 1)
        raise MetricError(
            f"two predictions for the image {duplicate!r}", fix="give one prediction per image"
        )
    return captions
