"""Every metric captune has, in one literal table, and `compute`, which scores by their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from captune import __version__
from captune.errors import MetricError, MissingExtraError
from captune.metrics.counting.candidates import Candidates, match_predictions
from captune.metrics.counting.frequencies import DocumentFrequencies
from captune.metrics.counting.references import References
from captune.metrics.meteor.captions import Captions
from captune.metrics.meteor.data import find_source
from captune.metrics.meteor.score import Meteor, score_parts
from captune.metrics.metric_inputs import MetricInputs
from captune.metrics.neural.bert import DEFAULT_BERT_MODEL, require_bert_score
from captune.metrics.neural.model_scores import score_bert_model, score_clip_model, score_pac_model
from captune.metrics.results import MetricColumn, MetricResults, Statistic
from captune.metrics.scores.bleu import score_bleu
from captune.metrics.scores.cider import score_cider, score_plain_cider
from captune.metrics.scores.diversity import score_diversity
from captune.metrics.scores.hallucination import score_hallucination
from captune.metrics.scores.rouge import score_rouge_l
from captune.metrics.scores.samples import score_samples
from captune.metrics.scores.spice import find_spice, score_spice
from captune.metrics.scores.wrapped import score_rouge, score_sacrebleu, score_wer
from captune.suggest import did_you_mean

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
    "samples",
    "hallucination",
    "spice",
    "bert",
    "clip",
    "pac",
]
Need = Literal["", "meteor", "java", "bert_score", "images", "pac_checkpoint", "samples"]


@dataclass(frozen=True, slots=True)
class Metric:
    """What one metric is.

    Attributes:
        group: Metrics computed together, and a name for all of them.
        low: Lowest possible value.
        high: Highest possible value; `inf` where there is none.
        better: Which direction is better; `None`: neither, it describes the captions.
        needs: Extra of captune, or part of `MetricInputs`, that it needs; empty: none.
        description: One sentence for tables and help.
    """

    group: Group
    low: float
    high: float
    better: Literal["higher", "lower"] | None
    needs: Need
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
    "bert_score": Metric(
        "bert", -_INF, 1, "higher", "bert_score", "BERTScore F, rescaled: 0 is unrelated."
    ),
    "bert_score_raw": Metric("bert", -1, 1, "higher", "bert_score", "BERTScore F as it is."),
    "clip_score": Metric("clip", 0, 2.5, "higher", "images", "CLIPScore, caption and image."),
    "ref_clip_score": Metric(
        "clip", -_INF, 10 / 7, "higher", "images", "CLIPScore and references."
    ),
    "pac_s": Metric("pac", 0, 2, "higher", "pac_checkpoint", "PAC-S, caption and image."),
    "ref_pac_s": Metric("pac", -_INF, 4 / 3, "higher", "pac_checkpoint", "PAC-S and references."),
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
    "div_1": Metric("samples", 0, 1, "higher", "samples", "Different words of an image by words."),
    "div_2": Metric("samples", 0, 1, "higher", "samples", "Different pairs of an image by words."),
    "mbleu_1": Metric("samples", 0, 1, "lower", "samples", "BLEU-1 against an image's others."),
    "mbleu_2": Metric("samples", 0, 1, "lower", "samples", "BLEU-2 against an image's others."),
    "mbleu_3": Metric("samples", 0, 1, "lower", "samples", "BLEU-3 against an image's others."),
    "mbleu_4": Metric("samples", 0, 1, "lower", "samples", "BLEU-4 against an image's others."),
    "self_cider": Metric("samples", 0, 1, "higher", "samples", "Spread of an image's captions."),
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

_NAMED_GROUPS: tuple[Group, ...] = (
    "bleu",
    "rouge",
    "word_errors",
    "hallucination",
    "diversity",
    "samples",
    "clip",
    "pac",
)

METRIC_GROUPS: Mapping[str, tuple[str, ...]] = {
    **{
        group: tuple(name for name, metric in METRICS.items() if metric.group == group)
        for group in _NAMED_GROUPS
    },
    "chair": ("chair_i", "chair_s"),
    "mbleu": ("mbleu_1", "mbleu_2", "mbleu_3", "mbleu_4"),
    # Both figures, whichever is asked for by this name.
    "bert_score": ("bert_score", "bert_score_raw"),
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
    inputs: MetricInputs | None = None,
) -> MetricResults:
    """Score one caption an image.

    Args:
        references: Human captions by image id; as `References` they are counted once for all calls.
        predictions: Image id -> caption, exactly the images of the references.
        metrics: Names of metrics or groups; see `METRICS` and `METRIC_GROUPS`.
        frequencies: CIDEr's document frequencies; `None`: those of `inputs`.
        inputs: What metrics take besides captions; the same object for several systems, so that
            images are embedded once.

    Returns:
        Values in the order of the references. `bert_score` is left out where its model has no
        baseline.

    Raises:
        MetricError: A metric is unknown or lacks its inputs, ids are missing, extra or double, or
            a caption is not text.
        MissingExtraError: A metric needs an extra that is not installed.
        ModelError: The model of a metric cannot be loaded.
    """
    inputs = inputs or MetricInputs()
    names = require_metrics(metrics, inputs)
    if frequencies is not None:
        inputs = replace(inputs, frequencies=frequencies)
    if not isinstance(references, References):
        references = References(references)
    candidates = match_predictions(references, predictions)
    columns: dict[str, MetricColumn] = {}
    for group in dict.fromkeys(METRICS[name].group for name in names):
        columns.update(_SCORERS[group](candidates, inputs))
    names = tuple(name for name in names if name in columns)
    return MetricResults(
        image_ids=references.image_ids,
        corpus={name: columns[name].corpus for name in names},
        per_image={n: v for n in names if (v := columns[n].per_image) is not None},
        statistics={n: s for n in names if (s := columns[n].statistic) is not None},
        signatures={name: _sign(name, columns[name], references=references) for name in names},
    )


def resolve_metrics(names: Sequence[str], inputs: MetricInputs | None = None) -> tuple[str, ...]:
    """Metric names for names of metrics and groups, in the order of the table.

    Args:
        names: Metrics and groups.
        inputs: What is there besides captions; `default` and `all` leave out what needs more.

    Raises:
        MetricError: A name is neither a metric nor a group, or there is none.
    """
    allowed = list(dict.fromkeys([*METRICS, *METRIC_GROUPS]))
    wanted: set[str] = set()
    for name in names:
        if name not in allowed:
            raise MetricError(
                f"unknown metric {name!r}{did_you_mean(name, allowed)}",
                fix=f"use one of {', '.join(allowed)}",
            )
        own = METRIC_GROUPS.get(name, (name,))
        if name in _WHAT_IS_THERE:
            own = tuple(metric for metric in own if not _find_lack(metric, inputs))
        wanted.update(own)
    if not wanted:
        raise MetricError("no metric is asked for", fix=f"use one of {', '.join(allowed)}")
    return tuple(name for name in METRICS if name in wanted)


def require_metrics(names: Sequence[str], inputs: MetricInputs | None = None) -> tuple[str, ...]:
    """The same, once it is known that each can be computed: before the work, not after it.

    Raises:
        MetricError: As `resolve_metrics`, or a metric needs images or a checkpoint.
        MissingExtraError: A metric needs an extra that is not installed.
    """
    resolved = resolve_metrics(names, inputs)
    for name in resolved:
        _require(name, inputs or MetricInputs())
    return resolved


def list_left_out(names: Sequence[str], inputs: MetricInputs | None = None) -> dict[str, str]:
    """Metrics of `default` or `all`, where asked for, that lack something -> how to get it."""
    asked = [metric for name in names if name in _WHAT_IS_THERE for metric in METRIC_GROUPS[name]]
    kept = resolve_metrics(names, inputs)
    return {name: _find_lack(name, inputs) for name in dict.fromkeys(asked) if name not in kept}


_WHAT_IS_THERE = frozenset(["default", "all"])


def _find_lack(name: str, inputs: MetricInputs | None) -> str:
    """How to get what a metric lacks for `default` and `all`; empty: nothing."""
    inputs = inputs or MetricInputs()
    try:
        _require(name, inputs)
    except (MissingExtraError, MetricError) as error:
        return error.fix
    if METRICS[name].needs == "bert_score" and inputs.bert_model is None:
        # Nobody who asks for all wants a download of 1.4 GB.
        return f"ask for bert_score by name, or name its model: --bert-model {DEFAULT_BERT_MODEL}"
    return ""


def _require(name: str, inputs: MetricInputs) -> None:
    needs = METRICS[name].needs
    if needs == "meteor":
        find_source()
    elif needs == "java":
        find_spice()
    elif needs == "bert_score":
        require_bert_score()
    elif needs == "samples":
        _require_samples(name, inputs)
    elif needs and inputs.images is None:
        raise MetricError(f"{name} needs the images", fix="give the images: --images FOLDER")
    elif needs == "pac_checkpoint" and inputs.pac_checkpoint is None:
        raise MetricError(
            f"{name} needs the checkpoint of PAC-S", fix="give its weights: --pac-checkpoint FILE"
        )


def _require_samples(name: str, inputs: MetricInputs) -> None:
    if inputs.samples is None:
        raise MetricError(
            f"{name} compares several captions of each image",
            fix="give them: captune score --samples FILE",
        )


def _sign(name: str, column: MetricColumn, *, references: References) -> str:
    tokens = "" if METRICS[name].group in _OWN_TOKENS else "|tok:ptb-3.4.1"
    return f"{name}|{column.variant}{tokens}|{references.description}|captune:{__version__}"


_OWN_TOKENS = frozenset(["sacrebleu", "rouge", "word_errors", "bert", "clip", "pac"])


def _score_meteor(candidates: Candidates, _: MetricInputs) -> dict[str, MetricColumn]:
    references = candidates.references
    captions = Captions.of_packed(references.tokens_packed)
    result = _open_meteor().score_captions(
        Captions.of_packed(candidates.tokens_packed),
        captions.take(candidates.pair_references),
        references_each=references.captions_per_image[candidates.images],
        vocabulary=candidates.vocabulary,
        image_ids=[references.image_ids[image] for image in candidates.images.tolist()],
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


Scorer = Callable[[Candidates, MetricInputs], dict[str, MetricColumn]]

_SCORERS: Mapping[Group, Scorer] = {
    "bleu": lambda candidates, _: score_bleu(candidates),
    "rouge_l": lambda candidates, _: score_rouge_l(candidates),
    "meteor": _score_meteor,
    "cider": lambda candidates, inputs: score_cider(candidates, inputs.frequencies),
    "cider_plain": lambda candidates, inputs: score_plain_cider(candidates, inputs.frequencies),
    "sacrebleu": lambda candidates, _: score_sacrebleu(candidates),
    "rouge": lambda candidates, _: score_rouge(candidates),
    "word_errors": lambda candidates, _: score_wer(candidates),
    "spice": lambda candidates, _: score_spice(candidates),
    "bert": score_bert_model,
    "clip": score_clip_model,
    "pac": score_pac_model,
    "hallucination": lambda candidates, inputs: score_hallucination(
        candidates, objects=inputs.objects, words=inputs.object_words
    ),
    "diversity": lambda candidates, _: score_diversity(candidates),
    "samples": lambda candidates, inputs: score_samples(
        candidates, inputs.samples or {}, frequencies=inputs.frequencies
    ),
}
