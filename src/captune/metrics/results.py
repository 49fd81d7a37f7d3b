"""What scoring gives back: corpus values, one value an image, and what a bootstrap needs.

A corpus value is a function of sums over images (BLEU: of clipped counts; CIDEr: of scores), never
a mean of per-image BLEU. Keeping those sums' parts lets a bootstrap resample by one matrix product.
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
        parts: float64 (images, k), one row an image; metrics of one family share one array.
        corpus_value: Turns summed parts (..., k) into corpus values (...,).
    """

    parts: Floats
    corpus_value: Callable[[Floats], Floats]


@dataclass(frozen=True, slots=True)
class MetricColumn:
    """One metric's outcome.

    Attributes:
        corpus: The value of the whole set, in the metric's own scale.
        per_image: float64 (images,), `None` where the metric has no value an image.
        statistic: What a bootstrap resamples; `None` where the metric does not decompose.
        variant: What the signature says of the method, `key:value` joined by `|`.
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
        per_image: Metric name -> float64 (images,), where the metric has a value an image.
        statistics: Metric name -> what a bootstrap resamples, where the metric decomposes.
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
    """A metric whose corpus value is the mean of its per-image values; NaN ones are left out.

    Args:
        values: float64 (images,).
        variant: What the signature says of the method.
    """
    valid = ~np.isnan(values)
    parts = np.stack([np.where(valid, values, 0.0), valid.astype(np.float64)], axis=1)
    corpus = float(np.mean(values[valid])) if valid.any() else float("nan")
    return MetricColumn(corpus, values, Statistic(parts, divide_sums), variant)


def parts_column(parts: Floats, value: Callable[[Floats], Floats], *, variant: str) -> MetricColumn:
    """A metric of sums: one function gives the corpus value and those of the images.

    Args:
        parts: float64 (images, parts).
        value: From sums of parts (..., parts) to values (...,).
        variant: What the signature says of the method.
    """
    corpus = float(value(parts.sum(axis=0)))
    return MetricColumn(corpus, value(parts), Statistic(parts, value), variant)


def sum_by(places: npt.NDArray[np.integer], values: npt.NDArray[Any], *, size: int) -> Floats:
    """Sum values that share a place.

    Args:
        places: (n,), below `size`.
        values: (n,).
        size: Number of places.

    Returns:
        float64 (size,), 0 where there is no value.
    """
    # numpy forgets the weights of no values at all, and then counts in integers.
    return np.bincount(places, values, minlength=size).astype(np.float64, copy=False)


def divide_sums(sums: Floats) -> Floats:
    """First over second part; 0 where there is nothing to divide by.

    Args:
        sums: float64 (..., 2).

    Returns:
        float64 (...,).
    """
    above, below = sums[..., 0], sums[..., 1]
    return np.divide(above, below, out=np.zeros_like(above), where=below != 0)
