"""Uncertainty of scores: 95 % intervals, and tests of one system against another.

Images are drawn with replacement. A resample is a row of counts, so all resamples of all metrics
are one product of (resamples, images) counts and (images, k) parts: no metric is computed again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from captune.errors import MetricError
from captune.metrics.results import Floats, MetricResults, Statistic
from captune.metrics.table import METRICS

K = TypeVar("K")
"""Type of the keys of statistics."""

SIGNIFICANCE = 0.05
"""p values below it count as a measured difference."""

LEVEL = 100 * (1 - SIGNIFICANCE)
"""Percentage of the resampled values inside an interval."""

BLOCK_COUNTS = 1 << 22
"""Maximum number of counts in memory: 32 MB, whatever the number of images."""


@dataclass(frozen=True, slots=True)
class PairedTest:
    """System B against system A on the same images.

    Attributes:
        delta: Corpus value of B minus that of A.
        low: Lower end of the 95 % interval of `delta`. The interval excludes 0 exactly where
            `p_value` is below 0.05.
        high: Upper end of the interval, at the same distance from `delta`.
        p_value: Two-sided: share of the centred resamples that differ at least as much as `delta`.
        wins: Number of images on which B is better; for a metric without a direction, higher.
        ties: Number of images on which both have the same value at the displayed decimals.
        losses: Number of images on which A is better.
    """

    delta: float
    low: float
    high: float
    p_value: float
    wins: int
    ties: int
    losses: int


def bootstrap_intervals(
    results: MetricResults, *, num_resamples: int = 1000, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Return 95 % percentile intervals of every metric that decomposes into images.

    Args:
        results: Scores of one set of predictions.
        num_resamples: Number of resamples, each with as many images as the set.
        seed: Seed of the resampling.

    Returns:
        Metric name -> lower and upper end, in the metric's own scale.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 13.3.
    """
    values = _resample(
        results.statistics, len(results.image_ids), num_resamples=num_resamples, seed=seed
    )
    return {name: _interval(column) for name, column in values.items()}


def paired_bootstrap(
    results_a: MetricResults,
    results_b: MetricResults,
    *,
    num_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, PairedTest]:
    """Test whether B differs from A, both resampled on the same images.

    Args:
        results_a: Scores of one system.
        results_b: Scores of another system on the same images.
        num_resamples: Number of resamples, each with as many images as the set.
        seed: Seed of the resampling.

    Returns:
        Metric name -> test, for the metrics that both have and that decompose into images.

    Raises:
        MetricError: The two were not scored on the same images, or not in the same way.

    Source: Koehn 2004, Statistical significance tests for machine translation evaluation; p value
    of the centred differences as in Riezler and Maxwell 2005, and the interval that inverts that
    test.
    """
    _check_comparable(results_a, results_b)
    shared = [name for name in results_a.statistics if name in results_b.statistics]
    num_images = len(results_a.image_ids)
    # Both systems use the same resamples: this makes the test a paired one.
    statistics = {
        (system, name): results.statistics[name]
        for system, results in enumerate((results_a, results_b))
        for name in shared
    }
    drawn = _resample(statistics, num_images, num_resamples=num_resamples, seed=seed)
    return {
        name: _test(name, (results_a, results_b), deltas=drawn[1, name] - drawn[0, name])
        for name in shared
    }


def draw_counts(num_images: int, *, num_resamples: int, seed: int) -> Iterator[Floats]:
    """Yield how often each image is in each resample, a block of resamples at a time.

    Args:
        num_images: Number of images, also the size of each resample.
        num_resamples: Number of resamples.
        seed: Seed of the resampling.

    Yields:
        float64 (resamples in the block, images); every row adds up to `num_images`.
    """
    generator = np.random.default_rng(seed)
    rows = max(1, BLOCK_COUNTS // max(1, num_images))
    for start in range(0, num_resamples, rows):
        count = min(rows, num_resamples - start)
        drawn = generator.integers(num_images, size=(count, num_images), dtype=np.int32)
        flat = drawn + (np.arange(count, dtype=np.int64) * num_images)[:, None]
        counts = np.bincount(flat.ravel(), minlength=count * num_images)
        yield counts.reshape(count, num_images).astype(np.float64)


def _resample(
    statistics: Mapping[K, Statistic], num_images: int, *, num_resamples: int, seed: int
) -> dict[K, Floats]:
    """Return the corpus values of every resample, float64 (resamples,), by the same keys."""
    if num_resamples < 1:
        raise MetricError(f"{num_resamples} resamples", fix="draw at least 1; 1000 is usual")
    if not statistics:
        return {}
    # Metrics of one family share their parts, which are then summed once.
    arrays = list({id(s.parts): s.parts for s in statistics.values()}.values())
    stops = np.cumsum([array.shape[1] for array in arrays])
    places = {
        id(array): slice(stop - array.shape[1], stop)
        for array, stop in zip(arrays, stops, strict=True)
    }
    parts = np.concatenate(arrays, axis=1)
    blocks = draw_counts(num_images, num_resamples=num_resamples, seed=seed)
    sums = np.concatenate([counts @ parts for counts in blocks])
    return {
        name: statistic.corpus_value(sums[:, places[id(statistic.parts)]])
        for name, statistic in statistics.items()
    }


def _interval(values: Floats) -> tuple[float, float]:
    tail = (100.0 - LEVEL) / 2
    low, high = np.percentile(values, [tail, 100.0 - tail])
    return float(low), float(high)


def _check_comparable(results_a: MetricResults, results_b: MetricResults) -> None:
    if results_a.image_ids != results_b.image_ids:
        raise MetricError(
            f"the systems were scored on {len(results_a.image_ids)} and "
            f"{len(results_b.image_ids)} images that are not the same images in the same order",
            fix="score both against the same references",
        )
    for name, signature in results_a.signatures.items():
        other = results_b.signatures.get(name, signature)
        if other != signature:
            raise MetricError(
                f"{name} was computed in two ways: {signature} and {other}",
                fix="score both in one run",
            )


def _test(name: str, systems: Sequence[MetricResults], *, deltas: Floats) -> PairedTest:
    a, b = systems
    delta = b.corpus[name] - a.corpus[name]
    distances = np.abs(deltas - deltas.mean())
    extreme = int(np.count_nonzero(distances >= abs(delta)))
    # The observed difference counts as one resample, so that p is never 0. Resamples of a
    # handful of images are all alike, and those of one image gave p < 0.001. An exact test, which
    # flips the signs of the images' differences, cannot go below the other bound.
    least = 2.0 ** (1 - len(a.image_ids))
    reach = _find_reach(distances, abs(delta), least=least)
    wins = losses = ties = 0
    if name in a.per_image and name in b.per_image:
        # A difference below the displayed digits is a tie: BLEU-4 without a match is about 1e-6.
        sign = -1.0 if METRICS[name].better == "lower" else 1.0
        difference = sign * (b.per_image[name] - a.per_image[name])
        shown = 0.5 * 10.0 ** -METRICS[name].decimals
        wins = int(np.count_nonzero(difference >= shown))
        losses = int(np.count_nonzero(difference <= -shown))
        ties = int(np.count_nonzero(np.abs(difference) < shown))
    return PairedTest(
        delta=delta,
        low=delta - reach,
        high=delta + reach,
        p_value=max((extreme + 1) / (len(deltas) + 1), least),
        wins=wins,
        ties=ties,
        losses=losses,
    )


def _find_reach(distances: Floats, size: float, *, least: float) -> float:
    """Return how far the interval of a difference extends to either side of it.

    The p of a difference is below 0.05 if fewer than 5 % of the distances are at least as large.
    In that case the interval must exclude 0, so it ends at the largest distance that keeps p at
    0.05 or above.

    Args:
        distances: float64 (resamples,), distances of the resamples from their mean.
        size: Size of the observed difference.
        least: Smallest possible p for this number of images.
    """
    # How many distances may be as large while p stays below 0.05, by the formula that gives p.
    total = len(distances)
    allowed = sum((number + 1) / (total + 1) < SIGNIFICANCE for number in range(total))
    if least >= SIGNIFICANCE or not allowed:
        return float(max(size, distances.max()))
    return float(np.sort(distances)[::-1][allowed - 1])
