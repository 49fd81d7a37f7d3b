"""The verdict in one sentence, and the warnings that keep it honest.

A metric can rise while the model gives every image the same caption, and a test on twelve images
proves nothing. Readers who read only one sentence must learn that too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from captune.evaluation.compare import AFTER, BEFORE, CONSTANT_CAPTION, Evaluation
from captune.evaluation.labels import (
    directed_label,
    format_delta,
    format_p,
    format_share,
    format_value,
    is_shown_as_zero,
    metric_label,
)
from captune.metrics import SIGNIFICANCE, PairedTest, is_lower_better
from captune.records import CaptionRecord, Prediction
from captune.suggest import format_count
from captune.text_safety import clean_text, shorten_words

FEW_IMAGES = 50
_COLLAPSE_SHARE = 0.10
_COLLAPSE_DISTINCT = 0.30
_CUT_SHARE = 0.20

Outcome = Literal["better", "doubtful", "same", "worse", "unknown"]
Occasion = Literal["run", "evaluation"]
"""A training run (before and after), or a model and its baseline (`captune evaluate`)."""


Finding = Literal["collapse", "constant", "cut"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a run.

    Attributes:
        outcome: `unknown` if there is nothing to compare with; `doubtful` if the score rose but
            the captions collapsed or a constant caption scores as well.
        headline: A few words.
        sentence: The change, with interval, p value and number of images.
        warnings: Reasons to doubt the result, one or two sentences each.
        findings: What the warnings are about, for suggestions.
    """

    outcome: Outcome
    headline: str
    sentence: str
    warnings: tuple[str, ...]
    findings: frozenset[Finding] = frozenset()


def judge_run(
    evaluation: Evaluation,
    after: Sequence[Prediction],
    *,
    records: Sequence[CaptionRecord],
    occasion: Occasion = "run",
    picked_on: str | None = None,
) -> Verdict:
    """Return the verdict on a run, from its main metric.

    Args:
        evaluation: Result of `score_run`.
        after: Captions of the tuned model.
        records: The images with their human captions, whose variety is the standard.
        occasion: Determines the wording.
        picked_on: The split that selected the checkpoint; `None`: no split did, or it is unknown.
    """
    name = evaluation.main_metric
    test = evaluation.test(BEFORE, AFTER).get(name)
    scored = evaluation.scores[AFTER].image_ids
    collapse = _warn_of_collapse("The model", after, records=records, scored=scored)
    constant = _warn_of_constant(evaluation)
    cut = _warn_of_cut_captions(evaluation, after)
    named: Mapping[Finding, Sequence[str]] = {
        "collapse": collapse,
        "constant": constant,
        "cut": cut,
    }
    findings = frozenset(finding for finding, own in named.items() if own)
    warnings = (
        *collapse,
        *constant,
        *cut,
        *_warn_of_seen_images(evaluation.split, picked_on),
        *_warn_of_few_images(evaluation),
    )
    if test is None:
        return Verdict("unknown", *_describe_alone(evaluation), warnings, findings)
    sentence = _describe_change(evaluation, test, occasion=occasion)
    outcome = judge_test(name, test)
    if outcome == "better" and (collapse or constant):
        headline = _COLLAPSED if collapse else _NO_BETTER_THAN_CONSTANT
        if not collapse and _constant_wins(evaluation):
            headline = _WORSE_THAN_CONSTANT
        return Verdict("doubtful", headline, sentence, warnings, findings)
    return Verdict(outcome, _HEADLINES[occasion][outcome], sentence, warnings, findings)


def describe_ranking(evaluation: Evaluation) -> tuple[str, str]:
    """Describe which of several systems is best on the main metric, and how certain that is.

    Returns:
        A headline, and a sentence with values, interval, p value and number of images.
    """
    name = evaluation.main_metric
    sign = -1.0 if is_lower_better(name) else 1.0
    ranked = sorted(evaluation.scores, key=lambda s: -sign * evaluation.scores[s].metrics[name])
    best = clean_text(ranked[0])
    if len(ranked) == 1:
        return _describe_alone(evaluation, ranked[0])
    values = [format_value(name, evaluation.scores[s].metrics[name]) for s in ranked[:2]]
    tests = evaluation.test(ranked[1], ranked[0]) or evaluation.test(ranked[0], ranked[1])
    test, second = tests.get(name), clean_text(ranked[1])
    images = format_count(evaluation.num_images, "image")
    sentence = f"{metric_label(name)} {values[0]} against {values[1]} for {second} on {images}"
    if test is None:
        return f"{best} scores highest.", sentence + "."
    if judge_test(name, test) == "same":
        text = f": no measurable difference ({format_p(test.p_value)})."
        return f"{best} and {second} cannot be told apart.", sentence + text
    # From the point of view of the best system, whichever way the pair was tested.
    ahead = 1.0 if test.delta > 0 else -1.0
    low, high = sorted((ahead * test.low, ahead * test.high))
    ends = f"{format_value(name, low)} to {format_value(name, high)}"
    text = (
        f": ahead by {format_value(name, abs(test.delta))} (95 % interval {ends},"
        f" {format_p(test.p_value)})."
    )
    return f"{best} is best.", sentence + text


def warn_of_collapses(
    evaluation: Evaluation,
    systems: Mapping[str, Sequence[Prediction]],
    *,
    records: Sequence[CaptionRecord],
) -> list[str]:
    """Return a sentence for every system that repeats few captions for many images.

    Args:
        evaluation: Result of `compare_systems`.
        systems: Name -> captions.
        records: The images with their human captions, whose variety is the standard.
    """
    return [
        sentence
        for name, scores in evaluation.scores.items()
        for sentence in _warn_of_collapse(
            clean_text(name), systems[name], records=records, scored=scores.image_ids
        )
    ]


def judge_test(name: str, test: PairedTest) -> Outcome:
    """Return whether a paired test shows a better system, a worse one, or no difference."""
    # BLEU-4 of captions without a match is about 1e-9, never 0; such differences mean nothing.
    if test.p_value >= SIGNIFICANCE or is_shown_as_zero(name, test.delta):
        return "same"
    return "better" if (test.delta < 0) == is_lower_better(name) else "worse"


_HEADLINES: Mapping[Occasion, Mapping[Outcome, str]] = {
    "run": {
        "better": "Training made the captions better.",
        "worse": "Training made the captions worse.",
        "same": "Training made no measurable difference.",
    },
    "evaluation": {
        "better": "The model is better than the baseline.",
        "worse": "The model is worse than the baseline.",
        "same": "No measurable difference from the baseline.",
    },
}
_COLLAPSED = "The score is better, but the captions have collapsed."
_NO_BETTER_THAN_CONSTANT = (
    "The score is better, but not measurably better than that of a constant caption."
)
_WORSE_THAN_CONSTANT = "The score is better, but worse than that of a constant caption."


def _describe_change(evaluation: Evaluation, test: PairedTest, *, occasion: Occasion) -> str:
    name = evaluation.main_metric
    before = format_value(name, evaluation.scores[BEFORE].metrics[name])
    after = format_value(name, evaluation.scores[AFTER].metrics[name])
    images = format_count(evaluation.num_images, "image")
    # Only a training changes a model; a baseline is another one.
    values, change = (
        (f"went from {before} to {after} on {images}", "a change")
        if occasion == "run"
        else (f"is {after} on {images}, against {before} for the baseline", "a difference")
    )
    return (
        f"{directed_label(name)} {values}: {change} of {format_delta(name, test.delta)} (95 %"
        f" interval {format_delta(name, test.low)} to {format_delta(name, test.high)},"
        f" {format_p(test.p_value)})."
    )


def _describe_alone(evaluation: Evaluation, system: str = AFTER) -> tuple[str, str]:
    name = evaluation.main_metric
    scores = evaluation.scores[system]
    interval = scores.intervals.get(name)
    ends = ""
    if interval is not None:
        low, high = format_value(name, interval.low), format_value(name, interval.high)
        ends = f" (95 % interval {low} to {high})"
    images = format_count(evaluation.num_images, "image")
    value = format_value(name, scores.metrics[name])
    reached = f"The model achieves {metric_label(name)} {value}{ends} on {images}"
    constant = evaluation.test(CONSTANT_CAPTION, system).get(name)
    outcome = "same" if constant is None else judge_test(name, constant)
    if constant is None or outcome == "same":
        return "Scored without a comparison.", f"{reached}; no other model was scored."
    of_constant = format_value(name, evaluation.scores[CONSTANT_CAPTION].metrics[name])
    return (
        "The model beats a constant caption."
        if outcome == "better"
        else "The model is worse than a constant caption.",
        f"{reached}, against {of_constant} for the same caption on every image"
        f" ({format_p(constant.p_value)}); no other model was scored.",
    )


def _warn_of_collapse(
    model: str,
    predictions: Sequence[Prediction],
    *,
    records: Sequence[CaptionRecord],
    scored: Sequence[str],
) -> list[str]:
    wanted = set(scored)
    generated = Counter(p.caption.strip() for p in predictions if p.image_id in wanted)
    human = Counter(r.captions[0].strip() for r in records if r.image_id in wanted and r.captions)
    total, of_humans = generated.total(), human.total()
    if total < 2 or not of_humans:
        return []
    caption, times = generated.most_common(1)[0]
    human_share = human.most_common(1)[0][1] / of_humans
    few = len(generated) / total < min(_COLLAPSE_DISTINCT, 0.5 * len(human) / of_humans)
    repeated = times > 1 and times / total > max(_COLLAPSE_SHARE, 2 * human_share)
    if not (few or repeated):
        return []
    quoted = f"“{shorten_words(clean_text(caption), 30)}”"
    if len(generated) == 1:
        return [f"{model} gives every image the caption {quoted}: it ignores the images."]
    return [
        f"{model} generates only {format_count(len(generated), 'different caption')} for"
        f" {format_count(total, 'image')} (first human captions: {len(human):,} different); the"
        f" most frequent, {quoted}, occurs {format_count(times, 'time')}"
        f" ({format_share(times / total)}). The"
        " captions have collapsed, whatever the scores are."
    ]


def _warn_of_constant(evaluation: Evaluation) -> list[str]:
    name = evaluation.main_metric
    test = evaluation.test(CONSTANT_CAPTION, AFTER).get(name)
    if test is None or judge_test(name, test) == "better":
        return []
    constant = evaluation.scores[CONSTANT_CAPTION].metrics[name]
    after = evaluation.scores[AFTER].metrics[name]
    start = "is worse than" if _constant_wins(evaluation) else "does not measurably beat"
    return [
        f"The model {start} a constant caption"
        f" (“{shorten_words(clean_text(evaluation.constant_caption), 30)}” for every image):"
        f" {metric_label(name)} {format_value(name, after)} against"
        f" {format_value(name, constant)} ({format_p(test.p_value)})."
    ]


def _constant_wins(evaluation: Evaluation) -> bool:
    name = evaluation.main_metric
    test = evaluation.test(CONSTANT_CAPTION, AFTER).get(name)
    return test is not None and judge_test(name, test) == "worse"


def _warn_of_cut_captions(evaluation: Evaluation, after: Sequence[Prediction]) -> list[str]:
    wanted = set(evaluation.scores[AFTER].image_ids)
    ends = [p.finish_reason for p in after if p.image_id in wanted]
    share = ends.count("length") / len(ends) if ends else 0.0
    if share <= _CUT_SHARE:
        return []
    return [
        f"{format_share(share)} of the captions were cut off by max_new_tokens; raise it, or the"
        " scores are those of incomplete captions."
    ]


def _warn_of_seen_images(split: str, picked_on: str | None) -> list[str]:
    if split == "train":
        return [
            "The model was trained on the scored images: the scores say nothing about new images."
        ]
    if picked_on is not None and split == picked_on:
        return [
            f"The {split} split also selected this checkpoint, so its scores are optimistic; score"
            " another split (evaluate.split), or keep the last weights (train.best_metric: last)."
        ]
    return []


def _warn_of_few_images(evaluation: Evaluation) -> list[str]:
    if evaluation.num_images >= FEW_IMAGES:
        return []
    return [
        f"Only {format_count(evaluation.num_images, 'image')} were scored, and other images can"
        " give quite different scores; score more images before relying on them."
        if evaluation.num_images > 1
        else "Only one image was scored; score more images before relying on the scores."
    ]
