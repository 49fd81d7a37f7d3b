"""Speed of scoring: seconds per group of metrics for captions that are in files."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from captune.hardware import choose_hardware
from captune.metrics import References, compute
from captune.records import TokenizerName


@dataclass(frozen=True, slots=True)
class ScoringSpeed:
    """The measured speed of scoring.

    Attributes:
        images: Scored images.
        captions: References and predictions.
        seconds: Metric or group -> seconds; what several metrics share counts for the first.
        peak_memory: Bytes of the process; 0: not reported.
    """

    images: int
    captions: int
    seconds: Mapping[str, float]
    peak_memory: int

    def as_json(self) -> dict[str, Any]:
        """Return the figures of `captune bench score --json`."""
        total = sum(self.seconds.values())
        return {
            "images_per_s": self.images / total,
            "captions_per_s": self.captions / total,
            "seconds": {**self.seconds, "all": total},
            "peak_memory_mb": self.peak_memory / 1e6,
        }


def measure_scoring(
    references: Mapping[str, Sequence[str]],
    predictions: Mapping[str, str],
    *,
    metrics: Sequence[str],
    tokenize: TokenizerName,
) -> ScoringSpeed:
    """Score captions, one metric or group after the other.

    Args:
        references: Image id -> its human captions.
        predictions: Image id -> one caption.
        metrics: Names of metrics and groups; the words of the captions are counted before them.
        tokenize: The tokenizer that splits captions into words.

    Raises:
        MetricError: A metric is unknown or lacks an input, or the ids differ.
        MissingExtraError: A metric or the tokenizer needs an extra that is not installed.
    """
    seconds: dict[str, float] = {}
    started = time.perf_counter()
    counted = References(references, tokenizer=tokenize)
    _ = counted.words
    seconds["references"] = time.perf_counter() - started
    for name in metrics:
        started = time.perf_counter()
        compute(counted, predictions, metrics=[name])
        seconds[name] = time.perf_counter() - started
    return ScoringSpeed(
        images=counted.num_images,
        captions=sum(map(len, counted.captions)) + len(predictions),
        seconds=seconds,
        peak_memory=choose_hardware("cpu", "fp32").peak_memory(),
    )
