"""Does an exported model write the same captions as the model itself? Counted, not assumed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from captune.errors import ModelError
from captune.evaluation import ScoringOptions, compare_systems, predict
from captune.inference import LoadedCaptioner
from captune.recipe import GenerateConfig
from captune.records import CaptionRecord, Prediction

_METRICS = ("bleu_4", "cider")
_BATCH = 8


@dataclass(frozen=True, slots=True)
class Parity:
    """Captions of both on the same images.

    Attributes:
        num_images: Images captioned by both.
        equal_share: Share of equal captions, 0..1.
        max_logprob_difference: Largest difference of mean log-probabilities where captions are
            equal, in nats per token.
        example: The first two captions that differ; empty if none do.
    """

    num_images: int
    equal_share: float
    max_logprob_difference: float
    example: tuple[str, ...]


def caption_records(
    captioner: LoadedCaptioner, records: Sequence[CaptionRecord], *, config: GenerateConfig
) -> list[Prediction]:
    """Return the captions of all readable images."""
    return predict(captioner, records, config=config, batch_size=_BATCH, decode="inline")


def compare_captions(model: Sequence[Prediction], exported: Sequence[Prediction]) -> Parity:
    """Compare captions of the same images in the same order."""
    pairs = list(zip(model, exported, strict=True))
    equal = [(a, b) for a, b in pairs if a.caption == b.caption]
    differences = [abs(a.mean_logprob - b.mean_logprob) for a, b in equal]
    example = next(((a.caption, b.caption) for a, b in pairs if a.caption != b.caption), ())
    return Parity(len(pairs), len(equal) / len(pairs), max(differences, default=0.0), example)


def score_difference(
    records: Sequence[CaptionRecord],
    *,
    model: Sequence[Prediction],
    exported: Sequence[Prediction],
    config: GenerateConfig,
) -> dict[str, Mapping[str, object]]:
    """Return the change of each score by the export, with its 95 % interval.

    Returns:
        Metric -> `model`, `exported`, `difference`, `interval` (low, high); raw scales.
    """
    options = ScoringOptions(
        metrics=_METRICS, split="", generate=config, bootstrap_samples=1000, seed=42
    )
    systems = {"model": model, "exported": exported}
    evaluation = compare_systems(records, systems, options=options)
    tests = evaluation.test("model", "exported")
    return {
        name: {
            "model": evaluation.scores["model"].metrics[name],
            "exported": evaluation.scores["exported"].metrics[name],
            "difference": tests[name].delta,
            "interval": [tests[name].low, tests[name].high],
        }
        for name in _METRICS
        if name in tests
    }


def require_parity(parity: Parity, *, least: float, is_int8: bool) -> None:
    """Refuse an export that changes too many captions.

    Raises:
        ModelError: Fewer than the share `least` of the captions are equal.
    """
    if parity.equal_share >= least:
        return
    changed = " became ".join(map(repr, parity.example))
    kind = "int8 export" if is_int8 else "export"
    first = (
        "calibrate with photographs like yours: --data DATA"
        if is_int8
        else "report it with the model's family"
    )
    # Rounded down, so that it is accepted.
    accepted = math.floor(100 * parity.equal_share) / 100
    raise ModelError(
        f"the {kind} is refused: {100 * parity.equal_share:.3g}% of {parity.num_images} captions"
        f" equal the model's, {100 * least:.3g}% are needed" + (f"; {changed}" if changed else ""),
        where="--min-equal",
        fix=f"{first}; or accept it: --min-equal {accepted:.2f}",
    )
