"""All metrics of captune, each declared once: labels, decimals, scorers and requirements.

A new metric is a file in `scores/` with its scorer, and its rows here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

from captune.metrics.counting.candidates import Candidates
from captune.metrics.meteor.captions import Captions
from captune.metrics.meteor.score import Meteor, score_parts
from captune.metrics.metric_inputs import MetricInputs
from captune.metrics.neural.model_scores import score_bert_model, score_clip_model, score_pac_model
from captune.metrics.results import MetricColumn, Statistic
from captune.metrics.scores.bleu import score_bleu
from captune.metrics.scores.cider import score_cider, score_plain_cider
from captune.metrics.scores.diversity import score_diversity
from captune.metrics.scores.hallucination import score_hallucination
from captune.metrics.scores.rouge import score_rouge_l
from captune.metrics.scores.samples import score_samples
from captune.metrics.scores.spice import score_spice
from captune.metrics.scores.wrapped import score_rouge, score_sacrebleu, score_wer

Scorer = Callable[[Candidates, MetricInputs], dict[str, MetricColumn]]
Tokens = Literal["chosen", "own", "a-z", "model"]
Need = Literal["", "meteor", "java", "bert_score", "images", "pac_checkpoint", "samples"]


@dataclass(frozen=True, slots=True)
class MetricFamily:
    """Metrics that are computed together.

    Attributes:
        scorer: Computes all of them.
        tokens: Words that they count. `chosen`: those of the chosen tokenizer, which the signature
            then names; `own`: the same, but by default those of the metric's own tokenizer; `a-z`:
            like `own`, with a default tokenizer that reads only the letters a to z and digits;
            `model`: the tokens of a model.
        is_english: Whether they look words up in English lists.
        is_named: Whether the family's name can be given in place of its metrics.
    """

    scorer: Scorer
    tokens: Tokens = "chosen"
    is_english: bool = False
    is_named: bool = False


@dataclass(frozen=True, slots=True)
class Metric:
    """Description of one metric.

    Attributes:
        group: Its family.
        label: Its readable name.
        span: Lowest and highest possible value; `inf` if there is no limit.
        description: One sentence for tables and help.
        better: Which direction is better; `None`: neither, the metric describes the captions.
        decimals: Number of decimals shown.
        needs: Extra of captune, or part of `MetricInputs`, that it needs; empty: none.
    """

    group: str
    label: str
    span: tuple[float, float]
    description: str
    better: Literal["higher", "lower"] | None = "higher"
    decimals: int = 3
    needs: Need = ""

    @property
    def low(self) -> float:
        """Lowest possible value."""
        return self.span[0]

    @property
    def high(self) -> float:
        """Highest possible value."""
        return self.span[1]


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
    """Return METEOR, loaded once; its tables stay mapped for the next set of predictions."""
    return Meteor.load()


FAMILIES: Mapping[str, MetricFamily] = {
    "bleu": MetricFamily(lambda candidates, _: score_bleu(candidates), is_named=True),
    "rouge_l": MetricFamily(lambda candidates, _: score_rouge_l(candidates)),
    "meteor": MetricFamily(_score_meteor, is_english=True),
    "cider": MetricFamily(lambda candidates, inputs: score_cider(candidates, inputs.frequencies)),
    "cider_plain": MetricFamily(
        lambda candidates, inputs: score_plain_cider(candidates, inputs.frequencies)
    ),
    "sacrebleu": MetricFamily(lambda candidates, _: score_sacrebleu(candidates), tokens="own"),
    "rouge": MetricFamily(
        lambda candidates, _: score_rouge(candidates), tokens="a-z", is_named=True
    ),
    "word_errors": MetricFamily(
        lambda candidates, _: score_wer(candidates), tokens="own", is_named=True
    ),
    "spice": MetricFamily(lambda candidates, _: score_spice(candidates), is_english=True),
    "bert": MetricFamily(score_bert_model, tokens="model"),
    "clip": MetricFamily(score_clip_model, tokens="model", is_named=True),
    "pac": MetricFamily(score_pac_model, tokens="model", is_named=True),
    "hallucination": MetricFamily(
        lambda candidates, inputs: score_hallucination(
            candidates, objects=inputs.objects, words=inputs.object_words
        ),
        is_english=True,
        is_named=True,
    ),
    "diversity": MetricFamily(lambda candidates, _: score_diversity(candidates), is_named=True),
    "samples": MetricFamily(
        lambda candidates, inputs: score_samples(
            candidates, inputs.samples or {}, frequencies=inputs.frequencies
        ),
        is_named=True,
    ),
}
"""Group -> how to compute its metrics."""

_INF = float("inf")

METRICS: Mapping[str, Metric] = {
    "bleu_1": Metric("bleu", "BLEU-1", (0, 1), "COCO BLEU, single words."),
    "bleu_2": Metric("bleu", "BLEU-2", (0, 1), "COCO BLEU, up to 2 words."),
    "bleu_3": Metric("bleu", "BLEU-3", (0, 1), "COCO BLEU, up to 3 words."),
    "bleu_4": Metric("bleu", "BLEU-4", (0, 1), "COCO BLEU, up to 4 words."),
    "rouge_l": Metric(
        "rouge_l", "ROUGE-L (COCO)", (0, 1), "COCO ROUGE-L, longest common subsequence."
    ),
    "meteor": Metric(
        "meteor",
        "METEOR",
        (0, 1),
        "METEOR 1.5: words, stems, synonyms, paraphrases.",
        needs="meteor",
    ),
    "cider": Metric("cider", "CIDEr", (0, 10), "CIDEr-D, the CIDEr of COCO's tables."),
    "cider_plain": Metric(
        "cider_plain", "CIDEr (plain)", (0, 10), "CIDEr without CIDEr-D's guards."
    ),
    "sacrebleu": Metric(
        "sacrebleu", "sacreBLEU", (0, 100), "BLEU by sacrebleu, lower-cased.", decimals=2
    ),
    "rouge1": Metric("rouge", "ROUGE-1", (0, 1), "ROUGE-1 F by rouge_score."),
    "rouge2": Metric("rouge", "ROUGE-2", (0, 1), "ROUGE-2 F by rouge_score."),
    "rougeL": Metric("rouge", "ROUGE-L", (0, 1), "ROUGE-L F by rouge_score."),
    "rougeLsum": Metric("rouge", "ROUGE-Lsum", (0, 1), "ROUGE-Lsum F by rouge_score."),
    "wer": Metric(
        "word_errors",
        "Word error rate",
        (0, _INF),
        "Word error rate, best reference, mean over images.",
        better="lower",
    ),
    "wer_first": Metric(
        "word_errors",
        "Word error rate, first reference",
        (0, _INF),
        "Word error rate, first reference, whole corpus.",
        better="lower",
    ),
    "spice": Metric("spice", "SPICE", (0, 1), "SPICE scene graphs, by its own jar.", needs="java"),
    "bert_score": Metric(
        "bert",
        "BERTScore, rescaled",
        (-_INF, 1),
        "BERTScore F, rescaled: 0 is unrelated.",
        needs="bert_score",
    ),
    "bert_score_raw": Metric(
        "bert", "BERTScore, raw", (-1, 1), "BERTScore F, not rescaled.", needs="bert_score"
    ),
    "clip_score": Metric(
        "clip", "CLIPScore", (0, 2.5), "CLIPScore of caption and image.", needs="images"
    ),
    "ref_clip_score": Metric(
        "clip",
        "RefCLIPScore",
        (-_INF, 10 / 7),
        "CLIPScore that also uses the references.",
        needs="images",
    ),
    "pac_s": Metric("pac", "PAC-S", (0, 2), "PAC-S of caption and image.", needs="pac_checkpoint"),
    "ref_pac_s": Metric(
        "pac",
        "RefPAC-S",
        (-_INF, 4 / 3),
        "PAC-S that also uses the references.",
        needs="pac_checkpoint",
    ),
    "chair_i": Metric(
        "hallucination",
        "CHAIR-i, objects",
        (0, 1),
        "Share of named objects that are not in the image.",
        better="lower",
    ),
    "chair_s": Metric(
        "hallucination",
        "CHAIR-s, captions",
        (0, 1),
        "Share of captions that name such an object.",
        better="lower",
    ),
    "distinct_1": Metric(
        "diversity", "Distinct words", (0, 1), "Distinct words divided by all words."
    ),
    "distinct_2": Metric(
        "diversity", "Distinct word pairs", (0, 1), "Distinct word pairs divided by all pairs."
    ),
    "vocabulary_size": Metric(
        "diversity", "Vocabulary, words", (0, _INF), "Distinct words used.", decimals=0
    ),
    "distinct_captions": Metric(
        "diversity", "Distinct captions", (0, 1), "Distinct captions divided by images."
    ),
    "most_frequent_share": Metric(
        "diversity",
        "Share of the most frequent caption",
        (0, 1),
        "Share of images with the most frequent caption.",
        better="lower",
    ),
    "mean_length": Metric(
        "diversity", "Mean length, words", (0, _INF), "Words per caption.", better=None, decimals=2
    ),
    "div_1": Metric(
        "samples",
        "Div-1",
        (0, 1),
        "Distinct words per image divided by its words.",
        needs="samples",
    ),
    "div_2": Metric(
        "samples",
        "Div-2",
        (0, 1),
        "Distinct word pairs per image divided by its words.",
        needs="samples",
    ),
    "mbleu_1": Metric(
        "samples",
        "mBLEU-1",
        (0, 1),
        "BLEU-1 against the other captions of the image.",
        better="lower",
        needs="samples",
    ),
    "mbleu_2": Metric(
        "samples",
        "mBLEU-2",
        (0, 1),
        "BLEU-2 against the other captions of the image.",
        better="lower",
        needs="samples",
    ),
    "mbleu_3": Metric(
        "samples",
        "mBLEU-3",
        (0, 1),
        "BLEU-3 against the other captions of the image.",
        better="lower",
        needs="samples",
    ),
    "mbleu_4": Metric(
        "samples",
        "mBLEU-4",
        (0, 1),
        "BLEU-4 against the other captions of the image.",
        better="lower",
        needs="samples",
    ),
    "self_cider": Metric(
        "samples", "Self-CIDEr", (0, 1), "How far the captions of an image differ.", needs="samples"
    ),
}
"""Metric name -> its description, in the order of tables."""

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
"""Metrics of the group `default`."""

METRIC_GROUPS: Mapping[str, tuple[str, ...]] = {
    **{
        group: tuple(name for name, metric in METRICS.items() if metric.group == group)
        for group, family in FAMILIES.items()
        if family.is_named
    },
    "chair": ("chair_i", "chair_s"),
    "mbleu": ("mbleu_1", "mbleu_2", "mbleu_3", "mbleu_4"),
    # One pass of the model gives both figures, so the name of one stands for both.
    "bert_score": ("bert_score", "bert_score_raw"),
    "default": DEFAULT_METRICS,
    "all": tuple(METRICS),
}
"""Names that stand for several metrics."""


def is_lower_better(name: str) -> bool:
    """Return whether a smaller value of a metric is better; false for unknown names."""
    return name in METRICS and METRICS[name].better == "lower"
