"""Systems side by side on the same images: who is better, by how much, and how sure that is.

A score without a constant caption beside it hides a model that says one sentence to everything
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


@dataclass(frozen=True, slots=True)
class SystemPair:
    """A paired test's two sides: is `system` better than `against`?"""

    against: str
    system: str


@dataclass(frozen=True)
class System:
    """What one system says.

    Attributes:
        captions: Image id -> caption.
        samples: Image id -> several captions by the same system, for metrics of variety.
        file: Where the captions were read from, for errors; `None`: they were made here.
    """

    captions: Mapping[str, str]
    samples: Mapping[str, Sequence[str]] | None = None
    file: Path | None = None


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
        tokenize: What cut captions into words.
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
        """Split, references, decoding, resampling and versions, without the metrics' own lines."""
        scores = next(iter(self.scores.values()))
        own = "; ".join(scores.signatures.values())
        return scores.signature.removesuffix(own).removesuffix("; ")

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
    references = gather_references(records, list(systems.values()), options=options)
    constant, chosen_from = choose_constant_caption(training_records, references)
    captions = {name: _say(references, predictions) for name, predictions in systems.items()}
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
    """Score any number of systems on the images that all of them have; test each pair.

    Args:
        records: Images with their human captions.
        systems: Name -> captions, at least one system.
        options: Metrics, references and resampling.

    Raises:
        DataError: No image has human captions and a prediction of every system.
        MetricError: A metric is unknown.
    """
    references = gather_references(records, list(systems.values()), options=options)
    evaluation = score_systems(
        references,
        {name: _say(references, predictions) for name, predictions in systems.items()},
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
    """Score systems against references that are counted already, and test pairs of them.

    Every command scores by this function, so that they all print and write the same figures.

    Args:
        references: The images scored.
        systems: Name -> captions of exactly those images.
        options: Metrics and resampling.
        pairs: Which systems are tested against which.

    Raises:
        MetricError: A metric is unknown, or the captions are not of those images.
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
    """Return every pair of systems once, the later one against the earlier."""
    return [SystemPair(a, b) for place, a in enumerate(names) for b in names[place + 1 :]]


def choose_constant_caption(
    training_records: Sequence[CaptionRecord], references: References
) -> tuple[str, str]:
    """The best caption to say to every image, and where it was chosen.

    Returns:
        The caption, and `training captions` or `the references themselves`.
    """
    training = {r.image_id: r.captions for r in training_records if r.captions}
    if training:
        caption = constant_caption_baseline(training, tokenizer=references.tokenizer)
        return caption, "training captions"
    return constant_caption_baseline(references), "the references themselves"


def _say(references: References, predictions: Sequence[Prediction]) -> System:
    """A system that says what it predicted of the images scored."""
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
