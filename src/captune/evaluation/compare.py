"""Systems side by side on the same images: who is better, by how much, and how sure that is.

A score without a constant caption beside it hides a model that says one sentence to everything
(BERTScore 0.83 was once published for 9 distinct captions on 138 images).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from captune.evaluation.scoring.evaluation import (
    ScoredPredictions,
    ScoringOptions,
    gather_references,
    score_against,
)
from captune.metrics import (
    METRICS,
    PairedTest,
    References,
    constant_caption_baseline,
    paired_bootstrap,
)
from captune.records import CaptionRecord, Prediction, Scores

BEFORE, AFTER, CONSTANT_CAPTION = "before", "after", "constant_caption"
"""Names of a run's systems, in scores.json and in the report."""

_VERDICT_ORDER = ("cider", "meteor", "bleu_4", "sacrebleu", "rouge_l", "rougeL", "wer")


@dataclass(frozen=True, slots=True)
class SystemPair:
    """A paired test's two sides: is `system` better than `against`?"""

    against: str
    system: str


@dataclass(frozen=True)
class Evaluation:
    """Systems scored on the same images.

    Attributes:
        scores: System -> its scores, in the order given.
        tests: Which pair -> metric -> paired test; a positive delta is `system`'s higher value.
        constant_caption: The caption that the constant system says; empty without that system.
        constant_from: Where it was chosen: `training captions` or `the references themselves`.
        left_out: Images of the data without a prediction from every system, or without captions.
        split: The split scored; `all` where the data set was used whole.
    """

    scores: Mapping[str, Scores]
    tests: Mapping[SystemPair, Mapping[str, PairedTest]]
    constant_caption: str = ""
    constant_from: str = ""
    left_out: tuple[str, ...] = ()
    split: str = "test"

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of all systems, in the order of tables."""
        return tuple(dict.fromkeys(n for scores in self.scores.values() for n in scores.metrics))

    @property
    def run_signature(self) -> str:
        """Split, references, decoding, resampling and versions, without the metrics' own lines."""
        scores = next(iter(self.scores.values()))
        return scores.signature.removesuffix("; " + "; ".join(scores.signatures.values()))

    @property
    def num_images(self) -> int:
        """Images scored, the same for every system."""
        return next(iter(self.scores.values())).num_images

    @property
    def main_metric(self) -> str:
        """The metric that a verdict rests on: CIDEr where it is there, else the next best known."""
        rated = [n for n in self.metrics if n not in METRICS or METRICS[n].better is not None]
        known = [name for name in _VERDICT_ORDER if name in rated]
        return (known or rated or list(self.metrics))[0]

    @property
    def main_image_metric(self) -> str | None:
        """The metric that images are sorted by; `None` where no metric has a value an image."""
        shared = [n for n in self.metrics if all(n in s.per_image for s in self.scores.values())]
        rated = [n for n in shared if n not in METRICS or METRICS[n].better is not None]
        return next((n for n in (self.main_metric, *_VERDICT_ORDER, *rated) if n in rated), None)

    def test(self, against: str, system: str) -> Mapping[str, PairedTest]:
        """The paired tests of one pair; empty where it was not tested."""
        return self.tests.get(SystemPair(against, system), {})


def score_run(
    records: Sequence[CaptionRecord],
    *,
    before: Sequence[Prediction] | None,
    after: Sequence[Prediction],
    training_records: Sequence[CaptionRecord],
    options: ScoringOptions,
) -> Evaluation:
    """Score a run: the tuned model, the model as it was, and one constant caption.

    Args:
        records: The scored images with their human captions.
        before: Captions of the untrained model; `None` where it was not run.
        after: Captions of the tuned model.
        training_records: Where the constant caption is chosen; without captions there, the
            references themselves, which flatters the constant caption.
        options: Metrics, references and resampling.

    Raises:
        DataError: No image has human captions and all predictions.
        MetricError: A metric is unknown.
    """
    systems = {AFTER: after} if before is None else {BEFORE: before, AFTER: after}
    references = gather_references(
        records, list(systems.values()), max_references=options.max_references
    )
    constant, chosen_from = choose_constant_caption(training_records, references)
    systems[CONSTANT_CAPTION] = say_constant(references, constant)
    scored = _score_all(references, systems, options=options.with_images(records))
    pairs = [SystemPair(BEFORE, AFTER), SystemPair(CONSTANT_CAPTION, AFTER)]
    return Evaluation(
        scores={name: each.scores for name, each in scored.items()},
        tests=_test_pairs(scored, [p for p in pairs if p.against in scored], options=options),
        constant_caption=constant,
        constant_from=chosen_from,
        left_out=_left_out(records, references),
        split=options.split,
    )


def compare_systems(
    records: Sequence[CaptionRecord],
    systems: Mapping[str, Sequence[Prediction]],
    *,
    options: ScoringOptions,
) -> Evaluation:
    """Score any number of systems on the images that all of them have; test each pair.

    Args:
        records: Images with their human captions.
        systems: Name -> captions, at least one system.
        options: Metrics, references and resampling.

    Raises:
        DataError: No image has human captions and a prediction of every system.
        MetricError: A metric is unknown.
    """
    references = gather_references(
        records, list(systems.values()), max_references=options.max_references
    )
    scored = _score_all(references, systems, options=options.with_images(records))
    names = list(scored)
    pairs = [SystemPair(a, b) for place, a in enumerate(names) for b in names[place + 1 :]]
    return Evaluation(
        scores={name: each.scores for name, each in scored.items()},
        tests=_test_pairs(scored, pairs, options=options),
        left_out=_left_out(records, references),
        split=options.split,
    )


def choose_constant_caption(
    training_records: Sequence[CaptionRecord], references: References
) -> tuple[str, str]:
    """The best caption to say to every image, and where it was chosen.

    Returns:
        The caption, and `training captions` or `the references themselves`.
    """
    training = {r.image_id: r.captions for r in training_records if r.captions}
    if training:
        return constant_caption_baseline(training), "training captions"
    return constant_caption_baseline(references), "the references themselves"


def say_constant(references: References, caption: str) -> list[Prediction]:
    """The predictions of a system that says one caption to every image."""
    return [Prediction(image_id, caption, 0.0, 0, "eos") for image_id in references.image_ids]


def _score_all(
    references: References,
    systems: Mapping[str, Sequence[Prediction]],
    *,
    options: ScoringOptions,
) -> dict[str, ScoredPredictions]:
    return {
        name: score_against(references, predictions, options=options)
        for name, predictions in systems.items()
    }


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
