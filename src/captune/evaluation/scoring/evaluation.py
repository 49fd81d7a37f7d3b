"""Scores of predictions: corpus values, 95 % intervals, and a signature of how they were made.

Scores compare generated captions with all human captions of the images; they never use
teacher-forced argmax.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from captune.data import decode_image, image_hash
from captune.errors import DataError
from captune.metrics import (
    DEFAULT_TOKENIZER,
    ImageSet,
    MetricInputs,
    MetricResults,
    References,
    TokenizerName,
    bootstrap_intervals,
    compute,
    require_metrics,
    require_tokenizer,
)
from captune.recipe import GenerateConfig, Recipe
from captune.records import CaptionRecord, Interval, Prediction, Scores
from captune.software import installed_version
from captune.suggest import format_count

_ALWAYS_SIGNED = ("num_beams", "max_new_tokens")
_VERSIONED = ("captune", "transformers", "torch")


@dataclass(frozen=True, slots=True)
class ScoringOptions:
    """How predictions are scored, and what the signature records about them.

    Attributes:
        metrics: Metric names or groups.
        split: The split scored; `all` if the data set was not split; empty: files were scored.
        generate: Decoding settings; `None` if captune did not decode.
        bootstrap_samples: Number of resamples per interval and test.
        seed: Seed of the resampling.
        max_references: Maximum number of references per image, the first ones; `None`: all.
        tokenize: The tokenizer that splits captions into words.
        inputs: Models of the metrics that need one; images are added from the records.
    """

    metrics: tuple[str, ...]
    split: str
    generate: GenerateConfig | None
    bootstrap_samples: int
    seed: int
    max_references: int | None = None
    tokenize: TokenizerName = DEFAULT_TOKENIZER
    inputs: MetricInputs = field(default_factory=MetricInputs)

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> Self:
        """Return the options that a recipe sets."""
        # Importing torch takes seconds, and scoring files does not need it.
        from captune.hardware import choose_hardware

        return cls(
            metrics=recipe.evaluate.metrics,
            split=recipe.evaluate.split,
            generate=recipe.generate,
            bootstrap_samples=recipe.evaluate.bootstrap_samples,
            seed=recipe.seed,
            max_references=recipe.evaluate.max_references,
            tokenize=recipe.evaluate.tokenize,
            inputs=MetricInputs(
                clip_model=recipe.evaluate.clip_model,
                pac_checkpoint=recipe.evaluate.pac_checkpoint,
                bert_model=recipe.evaluate.bert_model,
                device=str(choose_hardware(recipe.train.device).device),
            ),
        )

    def with_images(self, records: Sequence[CaptionRecord]) -> Self:
        """Return these options with the images that some metrics need."""
        sources = {record.image_id: record.image for record in records}
        images = ImageSet(
            open=lambda image_id: decode_image(sources[image_id]),
            key=lambda image_id: image_hash(sources[image_id]),
        )
        return replace(self, inputs=replace(self.inputs, images=images))

    def check_metrics(self) -> None:
        """Check that all metrics can be computed, before any captions are generated.

        Raises:
            MetricError: A metric or tokenizer is unknown, or the checkpoint of a metric is missing.
            MissingExtraError: A metric requested by name, or the tokenizer, needs an extra.
        """
        require_tokenizer(self.tokenize)
        require_metrics(self.metrics, self.with_images(()).inputs)


@dataclass(frozen=True)
class ScoredPredictions:
    """Scores together with the results per image, which paired tests need.

    Attributes:
        scores: Scores to show and save.
        results: Computed results per image.
    """

    scores: Scores
    results: MetricResults


def gather_references(
    records: Sequence[CaptionRecord],
    systems: Sequence[Sequence[Prediction]],
    *,
    options: ScoringOptions,
) -> References:
    """Return the human captions of the images with a prediction by every system.

    Raises:
        DataError: There is no such image.
    """
    predicted = [{prediction.image_id for prediction in system} for system in systems]
    captions = {
        record.image_id: record.captions[: options.max_references]
        for record in records
        if record.captions and all(record.image_id in ids for ids in predicted)
    }
    if not captions:
        captioned = sum(bool(record.captions) for record in records)
        raise DataError(
            "no image has both human captions and a prediction",
            where=f"{format_count(len(records), 'image')}, {captioned} with captions,"
            f" {', '.join(str(len(ids)) for ids in predicted)} predictions",
            fix="give data with captions, and predictions for the same images",
        )
    return References(captions, tokenizer=options.tokenize)


def score_against(
    references: References, captions: Mapping[str, str], *, options: ScoringOptions
) -> ScoredPredictions:
    """Score captions against references that are already counted.

    Args:
        references: The images scored.
        captions: Image id -> caption, for exactly those images.
        options: Metrics and resampling; `max_references` was already applied to the references.
    """
    results = compute(references, captions, metrics=options.metrics, inputs=options.inputs)
    ends = bootstrap_intervals(results, num_resamples=options.bootstrap_samples, seed=options.seed)
    scores = Scores(
        metrics=dict(results.corpus),
        intervals={name: Interval(low, high) for name, (low, high) in ends.items()},
        per_image={name: values.tolist() for name, values in results.per_image.items()},
        image_ids=results.image_ids,
        signature="; ".join(filter(None, [sign(references, options=options), results.signature])),
        signatures=dict(results.signatures),
    )
    return ScoredPredictions(scores, results)


def sign(references: References, *, options: ScoringOptions) -> str:
    """Return split, references, decoding, resampling and versions in one line.

    The line is empty for scored files, whose origin is unknown.
    """
    if not options.split:
        return ""
    parts = [f"split:{options.split}", references.description]
    if options.max_references is not None:
        parts.append(f"max_refs:{options.max_references}")
    if options.generate is not None:
        parts.append("decoding:" + describe_decoding(options.generate))
    parts.append(f"bootstrap:{options.bootstrap_samples}|seed:{options.seed}")
    parts += [f"{name}:{installed_version(name) or 'unknown'}" for name in _VERSIONED]
    return "|".join(parts)


def describe_decoding(generate: GenerateConfig) -> str:
    """Return `num_beams=5,max_new_tokens=20` and all other settings that are not the default."""
    defaults = GenerateConfig()
    return ",".join(
        f"{name}={value!r}" if isinstance(value, str) else f"{name}={value}"
        for name, value in generate
        if name in _ALWAYS_SIGNED or value != getattr(defaults, name)
    )
