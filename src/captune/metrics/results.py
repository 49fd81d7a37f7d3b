"""Results of scoring: corpus values, one value per image, and the parts that a bootstrap needs.

A corpus value is a function of sums over images (clipped counts for BLEU, scores for CIDEr), never
a mean of per-image BLEU. With the parts of those sums, a bootstrap resamples by one matrix product.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Statistic:
    """The additive parts of one metric.

    Attributes:
        parts: float64 (images, k), one row per image; metrics of one family share one array.
        corpus_value: Returns the corpus values (...,) of summed parts (..., k).
    """

    parts: Floats
    corpus_value: Callable[[Floats], Floats]


@dataclass(frozen=True, slots=True)
class MetricColumn:
    """Values of one metric.

    Attributes:
        corpus: The value of the whole set, in the metric's own scale.
        per_image: float64 (images,), `None` if the metric has no value per image.
        statistic: Parts that a bootstrap resamples; `None` if the metric does not decompose.
        variant: Description of the method in signatures, `key:value` joined by `|`.
    """

    corpus: float
    per_image: Floats | None
    statistic: Statistic | None
    variant: str


@dataclass(frozen=True)
class MetricResults:
    """Scores of one set of predictions.

    Attributes:
        image_ids: The images, in the order of the references.
        corpus: Metric name -> value of the whole set, in the metric's own scale.
        per_image: Metric name -> float64 (images,), if the metric has a value per image.
        statistics: Metric name -> parts that a bootstrap resamples, if the metric decomposes.
        signatures: Metric name -> variant, tokenizer, references and versions in one line.
    """

    image_ids: tuple[str, ...]
    corpus: Mapping[str, float]
    per_image: Mapping[str, Floats]
    statistics: Mapping[str, Statistic]
    signatures: Mapping[str, str]

    @property
    def signature(self) -> str:
        """All signatures in one line."""
        return "; ".join(self.signatures.values())


def mean_column(values: Floats, *, variant: str) -> MetricColumn:
    """Return a metric whose corpus value is the mean of its per-image values, without NaN.

    Args:
        values: float64 (images,).
        variant: Description of the method in signatures.
    """
    valid = ~np.isnan(values)
    parts = np.stack([np.where(valid, values, 0.0), valid.astype(np.float64)], axis=1)
    corpus = float(np.mean(values[valid])) if valid.any() else float("nan")
    return MetricColumn(corpus, values, Statistic(parts, divide_sums), variant)


def parts_column(parts: Floats, value: Callable[[Floats], Floats], *, variant: str) -> MetricColumn:
    """Return a metric of sums, whose corpus value and per-image values have the same formula.

    Args:
        parts: float64 (images, parts).
        value: Returns the values (...,) of sums of parts (..., parts).
        variant: Description of the method in signatures.
    """
    corpus = float(value(parts.sum(axis=0)))
    return MetricColumn(corpus, value(parts), Statistic(parts, value), variant)


def sum_by(places: npt.NDArray[np.integer], values: npt.NDArray[Any], *, size: int) -> Floats:
    """Return the sum of the values at each place.

    Args:
        places: Integers (n,), each below `size`.
        values: Numbers (n,).
        size: Number of places.

    Returns:
        float64 (size,), 0 at places without a value.
    """
    # With empty weights, numpy ignores them and returns integer counts.
    return np.bincount(places, values, minlength=size).astype(np.float64, copy=False)


def divide_sums(sums: Floats) -> Floats:
    """Return the first part divided by the second; 0 where the second is 0.

    Args:
        sums: float64 (..., 2).

    Returns:
        float64 (...,).
    """
    above, below = sums[..., 0], sums[..., 1]
    return np.divide(above, below, out=np.zeros_like(above), where=below != 0)
