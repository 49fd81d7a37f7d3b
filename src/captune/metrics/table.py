"""Every metric captune has, in one literal table, and `compute`, which scores by their names."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from captune import __version__
from captune.errors import MetricError, MissingExtraError
from captune.metrics.bleu import score_bleu
from captune.metrics.candidates import Candidates, match_predictions
from captune.metrics.cider import score_cider, score_plain_cider
from captune.metrics.diversity import score_diversity
from captune.metrics.frequencies import DocumentFrequencies
from captune.metrics.hallucination import score_hallucination
from captune.metrics.lexical import score_rouge, score_sacrebleu, score_wer
from captune.metrics.meteor import Meteor, score_parts
from captune.metrics.meteor_data import find_source
from captune.metrics.references import References
from captune.metrics.results import MetricColumn, MetricResults, Statistic
from captune.metrics.rouge import score_rouge_l
from captune.metrics.spice import find_spice, score_spice

Group = Literal[
    "bleu",
    "rouge_l",
    "meteor",
    "cider",
    "cider_plain",
    "sacrebleu",
    "rouge",
    "word_errors",
    "diversity",
    "hallucination",
    "spice",
]


@dataclass(frozen=True, slots=True)
class Metric:
    """What one metric is.

    Attributes:
        group: Metrics computed together, and a name for all of them.
        low: Lowest possible value.
        high: Highest possible value; `inf` where there is none.
        better: Which direction is better; `None`: neither, it describes the captions.
        needs: Extra of captune that it needs; empty: none.
        description: One sentence for tables and help.
    """

    group: Group
    low: float
    high: float
    better: Literal["higher", "lower"] | None
    needs: str
    description: str


_INF = float("inf")

METRICS: Mapping[str, Metric] = {
    "bleu_1": Metric("bleu", 0, 1, "higher", "", "COCO BLEU, words."),
    "bleu_2": Metric("bleu", 0, 1, "higher", "", "COCO BLEU, up to 2 words."),
    "bleu_3": Metric("bleu", 0, 1, "higher", "", "COCO BLEU, up to 3 words."),
    "bleu_4": Metric("bleu", 0, 1, "higher", "", "COCO BLEU, up to 4 words."),
    "rouge_l": Metric("rouge_l", 0, 1, "higher", "", "COCO ROUGE-L, longest common sequence."),
    "meteor": Metric("meteor", 0, 1, "higher", "meteor", "METEOR 1.5, words, stems, synonyms."),
    "cider": Metric("cider", 0, 10, "higher", "", "CIDEr-D, the CIDEr of COCO's tables."),
    "cider_plain": Metric("cider_plain", 0, 10, "higher", "", "CIDEr without CIDEr-D's guards."),
    "sacrebleu": Metric("sacrebleu", 0, 100, "higher", "", "BLEU by sacrebleu, lower-cased."),
    "rouge1": Metric("rouge", 0, 1, "higher", "", "ROUGE-1 F by rouge_score."),
    "rouge2": Metric("rouge", 0, 1, "higher", "", "ROUGE-2 F by rouge_score."),
    "rougeL": Metric("rouge", 0, 1, "higher", "", "ROUGE-L F by rouge_score."),
    "rougeLsum": Metric("rouge", 0, 1, "higher", "", "ROUGE-Lsum F by rouge_score."),
    "wer": Metric("word_errors", 0, _INF, "lower", "", "Word error rate, best reference, mean."),
    "wer_first": Metric(
        "word_errors", 0, _INF, "lower", "", "Word error rate, first reference, corpus."
    ),
    "spice": Metric("spice", 0, 1, "higher", "java", "SPICE by its own jar, scene graphs."),
    "chair_i": Metric("hallucination", 0, 1, "lower", "", "Named objects not in the image."),
    "chair_s": Metric("hallucination", 0, 1, "lower", "", "Captions that name such an object."),
    "distinct_1": Metric("diversity", 0, 1, "higher", "", "Different words by words."),
    "distinct_2": Metric("diversity", 0, 1, "higher", "", "Different word pairs by pairs."),
    "vocabulary_size": Metric("diversity", 0, _INF, "higher", "", "Different words used."),
    "distinct_captions": Metric("diversity", 0, 1, "higher", "", "Different captions by images."),
    "most_frequent_share": Metric(
        "diversity", 0, 1, "lower", "", "Share of the commonest caption."
    ),
    "mean_length": Metric("diversity", 0, _INF, None, "", "Words a caption."),
}
"""Metric name -> what it is, in the order of tables."""

DEFAULT_METRICS: tuple[str, ...] = (
    "bleu_1",
    "bleu_2",
    "bleu_3",
    "bleu_4",
    "rouge_l",
    "meteor",
    "cider",
    "distinct_captions",
    "most_frequent_share",
    "vocabulary_size",
    "mean_length",
)
"""What `default` stands for."""

METRIC_GROUPS: Mapping[str, tuple[str, ...]] = {
    **{
        group: tuple(name for name, metric in METRICS.items() if metric.group == group)
        for group in ("bleu", "rouge", "word_errors", "hallucination", "diversity")
    },
    "default": DEFAULT_METRICS,
    "all": tuple(METRICS),
}
"""Names that stand for several metrics."""


def compute(
    references: References | Mapping[str, Sequence[str]],
    predictions: Mapping[str, str],
    *,
    metrics: Sequence[str] = DEFAULT_METRICS,
    frequencies: DocumentFrequencies | None = None,
) -> MetricResults:
    """Score one caption an image.

    Args:
        references: Human captions by image id; as `References` they are counted once for all calls.
        predictions: Image id -> caption, exactly the images of the references.
        metrics: Names of metrics or groups; see `METRICS` and `METRIC_GROUPS`.
        frequencies: CIDEr's document frequencies; `None`: counted in the references.

    Returns:
        Values in the order of the references.

    Raises:
        MetricError: A metric is unknown, ids are missing, extra or double, or a caption is not
            text.
        MissingExtraError: A metric needs an extra that is not installed.
    """
    names = resolve_metrics(metrics)
    if not isinstance(references, References):
        references = References(references)
    candidates = match_predictions(references, predictions)
    columns: dict[str, MetricColumn] = {}
    for group in dict.fromkeys(METRICS[name].group for name in names):
        columns.update(_SCORERS[group](candidates, frequencies))
    return MetricResults(
        image_ids=references.image_ids,
        corpus={name: columns[name].corpus for name in names},
        per_image={n: v for n in names if (v := columns[n].per_image) is not None},
        statistics={n: s for n in names if (s := columns[n].statistic) is not None},
        signatures={name: _sign(name, columns[name], references=references) for name in names},
    )


def resolve_metrics(names: Sequence[str]) -> tuple[str, ...]:
    """Metric names for names of metrics and groups, in the order of the table.

    Raises:
        MetricError: A name is neither a metric nor a group, or there is none.
    """
    allowed = [*METRICS, *METRIC_GROUPS]
    wanted: set[str] = set()
    for name in names:
        if name not in METRICS and name not in METRIC_GROUPS:
            close = difflib.get_close_matches(name.lower(), allowed, n=1)
            raise MetricError(
                f"unknown metric {name!r}" + (f"; did you mean {close[0]!r}?" if close else ""),
                fix=f"use one of {', '.join(dict.fromkeys(allowed))}",
            )
        if name in {"default", "all"}:
            wanted.update(metric for metric in METRIC_GROUPS[name] if _is_installed(metric))
        else:
            wanted.update((name,) if name in METRICS else METRIC_GROUPS[name])
    if not wanted:
        raise MetricError("no metric is asked for", fix=f"use one of {', '.join(allowed)}")
    return tuple(name for name in METRICS if name in wanted)


def list_left_out(names: Sequence[str]) -> tuple[str, ...]:
    """Metrics of `default` or `all`, where asked for, whose extra is not installed."""
    asked = [
        metric for name in names if name in {"default", "all"} for metric in METRIC_GROUPS[name]
    ]
    kept = resolve_metrics(names)
    return tuple(name for name in dict.fromkeys(asked) if name not in kept)


def _is_installed(name: str) -> bool:
    """Whether a metric's extra is there; asked by name, a metric without it is an error."""
    try:
        if METRICS[name].needs == "meteor":
            find_source()
        if METRICS[name].needs == "java":
            find_spice()
    except MissingExtraError:
        return False
    return True


def _sign(name: str, column: MetricColumn, *, references: References) -> str:
    own_tokens = METRICS[name].group in {"sacrebleu", "rouge", "word_errors"}
    tokens = "" if own_tokens else "|tok:ptb-3.4.1"
    return f"{name}|{column.variant}{tokens}|{references.description}|captune:{__version__}"


def _score_meteor(candidates: Candidates, _: DocumentFrequencies | None) -> dict[str, MetricColumn]:
    references = candidates.references
    groups = [
        references.tokens[start : start + size]
        for start, size in zip(
            references.first_caption.tolist(), references.captions_per_image.tolist(), strict=True
        )
    ]
    images = candidates.images.tolist()
    result = _open_meteor().score(
        [groups[image] for image in images],
        candidates.tokens,
        image_ids=[references.image_ids[image] for image in images],
    )
    return {
        "meteor": MetricColumn(
            corpus=result.corpus,
            per_image=result.per_image,
            statistic=Statistic(result.parts, score_parts),
            variant="variant:1.5|lang:en|norm:yes",
        )
    }


@cache
def _open_meteor() -> Meteor:
    """The tables stay mapped for the next set of predictions."""
    return Meteor.load()


Scorer = Callable[[Candidates, DocumentFrequencies | None], dict[str, MetricColumn]]

_SCORERS: Mapping[Group, Scorer] = {
    "bleu": lambda candidates, _: score_bleu(candidates),
    "rouge_l": lambda candidates, _: score_rouge_l(candidates),
    "meteor": _score_meteor,
    "cider": score_cider,
    "cider_plain": score_plain_cider,
    "sacrebleu": lambda candidates, _: score_sacrebleu(candidates),
    "rouge": lambda candidates, _: score_rouge(candidates),
    "word_errors": lambda candidates, _: score_wer(candidates),
    "spice": lambda candidates, _: score_spice(candidates),
    "hallucination": lambda candidates, _: score_hallucination(candidates),
    "diversity": lambda candidates, _: score_diversity(candidates),
}
