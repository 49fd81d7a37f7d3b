"""Caption metrics as a `compute_metrics` function for Hugging Face's Trainer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from captune.metrics import (
    DEFAULT_TOKENIZER,
    References,
    TokenizerName,
    compute,
    require_metrics,
    require_tokenizer,
)

DEFAULT_NAMES = ("bleu_4", "cider", "distinct_captions")


class CaptionMetrics:
    """Scores of generated captions, for `CaptionTrainer(compute_metrics=...)`.

    Attributes:
        names: Metrics computed, in the order of the table of metrics.
    """

    def __init__(
        self, names: Sequence[str], *, tokenizer: TokenizerName = DEFAULT_TOKENIZER
    ) -> None:
        self.names = require_metrics(names)
        self._tokenizer = require_tokenizer(tokenizer)
        self._references: tuple[tuple[Any, ...], References] | None = None

    def __call__(self, prediction: Any) -> dict[str, float]:
        """Return values by metric name, scored against all references.

        Args:
            prediction: An `EvalPrediction` of `CaptionTrainer`, with one generated caption and the
                human captions per image.
        """
        captions, human = prediction.predictions, tuple(map(tuple, prediction.label_ids))
        # Preparing the references takes longer than scoring, and they are the same every time.
        if self._references is None or self._references[0] != human:
            named = {str(place): list(texts) for place, texts in enumerate(human)}
            self._references = (human, References(named, tokenizer=self._tokenizer))
        results = compute(
            self._references[1],
            {str(place): caption for place, caption in enumerate(captions)},
            metrics=self.names,
        )
        return {name: float(value) for name, value in results.corpus.items()}


def caption_metrics(*names: str, tokenizer: TokenizerName = DEFAULT_TOKENIZER) -> CaptionMetrics:
    """Return `compute_metrics` for a `CaptionTrainer`, which scores against all references.

    `caption_metrics("cider", "wer")` computes `eval_cider` and `eval_wer`, which
    `metric_for_best_model` can name.

    Args:
        *names: Metrics or groups of `captune.metrics`; none: BLEU-4, CIDEr and the share of
            different captions.
        tokenizer: Tokenizer that splits captions into words: `pycocoevalcap`, `char`, `zh` or
            `ja-mecab`.

    Raises:
        MetricError: A metric is unknown, or needs more than captions.
        MissingExtraError: A metric needs an extra that is not installed.
    """
    return CaptionMetrics(names or DEFAULT_NAMES, tokenizer=tokenizer)
