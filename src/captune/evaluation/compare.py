"""Compare systems on the same images: which is better, by how much, and how certain that is.

Without the score of a constant caption, a model that gives every image one sentence goes unnoticed
(BERTScore 0.83 was once published for 9 distinct captions on 138 images).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from captune.evaluation.scoring.evaluation import (
    ScoredPredictions,
    ScoringOptions,
    gather_references,
    score_against,
)
from captune.metrics import (
    DEFAULT_TOKENIZER,
    METRICS,
    PairedTest,
    References,
    TokenizerName,
    constant_caption_baseline,
    naming_file,
    paired_bootstrap,
)
from captune.records import CaptionRecord, Prediction, Scores

BEFORE, AFTER, CONSTANT_CAPTION = "before", "after", "constant_caption"
"""Names of a run's systems, in scores.json and in the report."""

_VERDICT_ORDER = ("cider", "meteor", "bleu_4", "sacrebleu", "rouge_l", "rougeL", "wer")


_MAIN_METRICS = (
    *("cider", "meteor", "bleu_4", "rouge_l", "spice", "clip_score", "distinct_captions"),
    *("bert_score", "sacrebleu", "wer", "rougeL", "bleu_1"),
)


@dataclass(frozen=True, slots=True)
class SystemPair:
    """The two sides of a paired test: is `system` better than `against`?"""

    against: str
    system: str


@dataclass(frozen=True)
class System:
    """The captions of one system.

    Attributes:
        captions: Image id -> caption.
        samples: Image id -> several captions by the same system, for metrics of variety.
        file: File that the captions were read from, for errors; `None`: generated here.
    """

    captions: Mapping[str, str]
    samples: Mapping[str, Sequence[str]] | None = None
    file: Path | None = None


@dataclass(frozen=True)
class Evaluation:
    """Systems scored on the same images.

    Attributes:
        scores: System -> its scores, in the given order.
        tests: Pair -> metric -> paired test; a positive delta means a higher value of `system`.
        constant_caption: The caption of the constant system; empty without that system.
        constant_from: What it was chosen for: `training captions` or `the references themselves`.
        left_out: Ids of images without a prediction by every system, or without human captions.
        split: The split scored; `all` if the data set was not split.
        tokenize: The tokenizer that split captions into words.
    """

    scores: Mapping[str, Scores]
    tests: Mapping[SystemPair, Mapping[str, PairedTest]]
    constant_caption: str = ""
    constant_from: str = ""
    left_out: tuple[str, ...] = ()
    split: str = "test"
    tokenize: TokenizerName = DEFAULT_TOKENIZER

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of all systems, in the order of tables."""
        return tuple(dict.fromkeys(n for scores in self.scores.values() for n in scores.metrics))

    @property
    def run_signature(self) -> str:
        """Split, references, decoding, resampling and versions, without metric signatures."""
        scores = next(iter(self.scores.values()))
        own = "; ".join(scores.signatures.values())
        return scores.signature.removesuffix(own).removesuffix("; ")

    @property
    def num_images(self) -> int:
        """Images scored, the same for every system."""
        return next(iter(self.scores.values())).num_images

    @property
    def main_metric(self) -> str:
        """The metric of the verdict: CIDEr if it was computed, else the next best known one."""
        rated = [n for n in self.metrics if n not in METRICS or METRICS[n].better is not None]
        known = [name for name in _VERDICT_ORDER if name in rated]
        return (known or rated or list(self.metrics))[0]

    @property
    def main_image_metric(self) -> str | None:
        """The metric that images are sorted by; `None` if no metric has a value per image."""
        shared = [n for n in self.metrics if all(n in s.per_image for s in self.scores.values())]
        rated = [n for n in shared if n not in METRICS or METRICS[n].better is not None]
        return next((n for n in (self.main_metric, *_VERDICT_ORDER, *rated) if n in rated), None)

    def test(self, against: str, system: str) -> Mapping[str, PairedTest]:
        """Return the paired tests of one pair by metric; empty if the pair was not tested."""
        return self.tests.get(SystemPair(against, system), {})


def main_metrics(evaluation: Evaluation, *, limit: int = 6) -> list[str]:
    """Return the metrics that a summary shows: the main one first, then the most compared ones.

    The share of distinct captions is among them, since the others can rise while captions collapse.
    """
    names = [evaluation.main_metric, *(n for n in _MAIN_METRICS if n in evaluation.metrics)]
    rated = [n for n in evaluation.metrics if n not in METRICS or METRICS[n].better is not None]
    return list(dict.fromkeys([*names, *rated]))[:limit]


def score_run(
    records: Sequence[CaptionRecord],
    *,
    before: Sequence[Prediction] | None,
    after: Sequence[Prediction],
    training_records: Sequence[CaptionRecord],
    options: ScoringOptions,
) -> Evaluation:
    """Score a run: the tuned model, the model before training, and one constant caption.

    Args:
        records: The scored images with their human captions.
        before: Captions of the model before training; `None` if it was not run.
        after: Captions of the tuned model.
        training_records: Images whose captions select the constant caption; without any, the
            references select it, which makes its scores optimistic.
        options: Metrics, references and resampling.

    Raises:
        DataError: No image has human captions and all predictions.
        MetricError: A metric is unknown.
    """
    systems = {AFTER: after} if before is None else {BEFORE: before, AFTER: after}
    references = gather_references(records, list(systems.values()), options=options)
    constant, chosen_from = choose_constant_caption(training_records, references)
    captions = {name: _keep_scored(references, system) for name, system in systems.items()}
    captions[CONSTANT_CAPTION] = System(dict.fromkeys(references.image_ids, constant))
    pairs = [SystemPair(BEFORE, AFTER), SystemPair(CONSTANT_CAPTION, AFTER)]
    evaluation = score_systems(
        references,
        captions,
        options=options.with_images(records),
        pairs=[pair for pair in pairs if pair.against in captions],
    )
    return replace(
        evaluation,
        constant_caption=constant,
        constant_from=chosen_from,
        left_out=_left_out(records, references),
    )


def compare_systems(
    records: Sequence[CaptionRecord],
    systems: Mapping[str, Sequence[Prediction]],
    *,
    options: ScoringOptions,
) -> Evaluation:
    """Score any number of systems on the images they have in common, and test each pair.

    Args:
        records: Images with their human captions.
        systems: Name -> captions, at least one system.
        options: Metrics, references and resampling.

    Raises:
        DataError: No image has human captions and a prediction by every system.
        MetricError: A metric is unknown.
    """
    references = gather_references(records, list(systems.values()), options=options)
    evaluation = score_systems(
        references,
        {name: _keep_scored(references, system) for name, system in systems.items()},
        options=options.with_images(records),
        pairs=pair_all(list(systems)),
    )
    return replace(evaluation, left_out=_left_out(records, references))


def score_systems(
    references: References,
    systems: Mapping[str, System],
    *,
    options: ScoringOptions,
    pairs: Sequence[SystemPair],
) -> Evaluation:
    """Score systems against references that are already counted, and test pairs of systems.

    Every command scores with this function, so all commands print and write the same figures.

    Args:
        references: The images scored.
        systems: Name -> captions of exactly those images.
        options: Metrics and resampling.
        pairs: The pairs of systems to test.

    Raises:
        MetricError: A metric is unknown, or the captions belong to other images.
    """
    scored = {}
    for name, system in systems.items():
        own = replace(options, inputs=replace(options.inputs, samples=system.samples))
        with nullcontext() if system.file is None else naming_file(system.file):
            scored[name] = score_against(references, system.captions, options=own)
    return Evaluation(
        scores={name: each.scores for name, each in scored.items()},
        tests=_test_pairs(scored, pairs, options=options),
        split=options.split,
        tokenize=options.tokenize,
    )


def pair_all(names: Sequence[str]) -> list[SystemPair]:
    """Return every pair of systems once, each later system against an earlier one."""
    return [SystemPair(a, b) for place, a in enumerate(names) for b in names[place + 1 :]]


def choose_constant_caption(
    training_records: Sequence[CaptionRecord], references: References
) -> tuple[str, str]:
    """Return the caption that scores best for every image, and what it was chosen for.

    Returns:
        The caption, and `training captions` or `the references themselves`.
    """
    training = {r.image_id: r.captions for r in training_records if r.captions}
    if training:
        caption = constant_caption_baseline(training, tokenizer=references.tokenizer)
        return caption, "training captions"
    return constant_caption_baseline(references), "the references themselves"


def _keep_scored(references: References, predictions: Sequence[Prediction]) -> System:
    """Return a system with only the predictions for the scored images."""
    wanted = references.index
    return System({p.image_id: p.caption for p in predictions if p.image_id in wanted})


def _test_pairs(
    scored: Mapping[str, ScoredPredictions],
    pairs: Sequence[SystemPair],
    *,
    options: ScoringOptions,
) -> dict[SystemPair, dict[str, PairedTest]]:
    return {
        pair: paired_bootstrap(
            scored[pair.against].results,
            scored[pair.system].results,
            num_resamples=options.bootstrap_samples,
            seed=options.seed,
        )
        for pair in pairs
    }


def _left_out(records: Sequence[CaptionRecord], references: References) -> tuple[str, ...]:
    return tuple(r.image_id for r in records if r.image_id not in references.index)
