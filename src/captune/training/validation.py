"""Validation by loss and by generated captions, which are what users get."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from PIL import Image

from captune.data import contact_sheet
from captune.errors import MetricError, ModelError, located
from captune.evaluation import ScoringOptions
from captune.hardware import Hardware, is_out_of_memory
from captune.inference import generate
from captune.metrics import (
    METRIC_GROUPS,
    METRICS,
    MetricInputs,
    References,
    compute,
    require_metrics,
    resolve_metrics,
)
from captune.models import Captioner, inference_form
from captune.recipe import Recipe
from captune.records import CaptionBatch
from captune.training.batches.feeding import Feed
from captune.training.team import Team

_ALWAYS = ("bleu_4", "cider", "distinct_captions")
_SHOWN = 8
NO_METRIC = ("loss", "last")
"""Values of `train.best_metric` that need no generated captions."""
_SAME_ORDER = {"bert_score": "bert_score_raw"}
"""Metrics that are not always computed -> one that is, and that ranks captions in the same order:
a baseline only shifts and scales BERTScore."""


@dataclass(frozen=True, slots=True)
class Validator:
    """Scores the model on the validation split.

    Attributes:
        captioner: The model with its current weights.
        feed: Validation images in their original view.
        recipe: Metric, decoding and number of images.
        hardware: Device and precision.
        chosen: Indices of the images that captions are generated for, a fixed seeded choice.
        references: Their human captions, tokenized and counted once.
        inputs: Images and models for metrics that need them, from the recipe.
        team: The processes, which validate a share each.
        captions: The captions generated last, by image id.
    """

    captioner: Captioner
    feed: Feed
    recipe: Recipe
    hardware: Hardware
    chosen: Sequence[int]
    references: References
    inputs: MetricInputs
    team: Team
    captions: dict[str, str] = field(default_factory=dict)

    def values(self) -> dict[str, float]:
        """Return `loss` (natural log, per token) and metrics of generated captions, by name.

        Every process gets the values that one process would compute: its batches are shared out.

        Raises:
            ModelError: A batch does not fit into memory.
        """
        self.captioner.eval_mode()
        with torch.inference_mode(), _advising_on_memory():
            loss = self._loss()
            captions = self._generated()
        self.captions.update(captions)
        scores = self._scores(captions) if self.team.leads else {}
        return self.team.hear_leader({"loss": loss, **scores})

    def sheet(self) -> Image.Image | None:
        """Draw the first images, the same each time, with their last captions and a human one."""
        records = [self.feed.data.records[i] for i in self.chosen[:_SHOWN]]
        shown = [
            replace(r, captions=(self.captions[r.image_id], f"human: {r.captions[0]}"))
            for r in records
            if r.image_id in self.captions
        ]
        if not shown:
            return None
        return contact_sheet(shown, columns=4, max_pixels=self.recipe.data.max_pixels)

    def _loss(self) -> float:
        own: list[tuple[int, tuple[float, int]]] = []
        for place, batch in self._own_batches(range(len(self.feed.data.records))):
            with self.hardware.autocast():
                loss = self.captioner.loss(batch)
            own.append((place, (float(loss.loss_sum), loss.num_tokens)))
        found = self.team.gather_in_order(own)
        return sum(loss for loss, _ in found) / max(1, sum(tokens for _, tokens in found))

    def caption_sheet(self) -> None:
        """Caption only the images of `sheet`, in this process alone, for a picture at step 0."""
        shown = self.chosen[:_SHOWN]
        self.captioner.eval_mode()
        with torch.inference_mode(), _advising_on_memory():
            for _, captions in self._captioned(self._batches([(0, tuple(shown))])):
                self.captions.update(captions)

    def _generated(self) -> dict[str, str]:
        own = list(self._captioned(self._own_batches(self.chosen)))
        return {
            image_id: caption
            for captions in self.team.gather_in_order(own)
            for image_id, caption in captions.items()
        }

    def _captioned(
        self, batches: Iterable[tuple[int, CaptionBatch]]
    ) -> Iterator[tuple[int, dict[str, str]]]:
        """Yield the place of each batch, and its captions by image id."""
        config = self.recipe.generate.model_copy(
            update={"num_beams": self.recipe.train.validate_beams, "do_sample": False}
        )
        dtype = self.hardware.dtype
        form = inference_form(self.captioner, vision=dtype, text=dtype)
        for place, batch in batches:
            predictions = generate(
                self.captioner,
                form.vision_states(batch),
                image_ids=batch.image_ids,
                config=config,
                backend=form.text,
            )
            yield place, {p.image_id: p.caption for p in predictions}

    def _scores(self, captions: Mapping[str, str]) -> dict[str, float]:
        metrics = validation_metrics(self.recipe.train.best_metric)
        results = compute(self.references, captions, metrics=metrics, inputs=self.inputs)
        return {name: float(value) for name, value in results.corpus.items()}

    def _own_batches(self, indices: Sequence[int]) -> Iterator[tuple[int, CaptionBatch]]:
        """Yield this process's share of the batches, with their indices among all batches."""
        size = self.recipe.evaluate.batch_size
        lengths = self.feed.data.row_lengths
        ordered = sorted(indices, key=lambda i: lengths[i])
        micros = [tuple(ordered[at : at + size]) for at in range(0, len(ordered), size)]
        yield from self._batches(self.team.own(micros))

    def _batches(
        self, micros: Sequence[tuple[int, tuple[int, ...]]]
    ) -> Iterator[tuple[int, CaptionBatch]]:
        batches = self.feed.single_batches([micro for _, micro in micros])
        for (place, _), batch in zip(micros, batches, strict=True):
            if batch is not None:
                yield place, batch.to(self.hardware.device)


@contextmanager
def _advising_on_memory() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise ModelError(
            "a batch of validation images does not fit into memory",
            where="evaluate.batch_size",
            fix="set it lower: captions and scores stay the same; then resume with --resume",
        ) from error


def make_validator(
    captioner: Captioner, feed: Feed, *, recipe: Recipe, hardware: Hardware, team: Team
) -> Validator:
    """Build a validator for a fixed choice of at most `train.validate_images` images.

    Raises:
        MetricError: `train.best_metric` cannot pick a model, or lacks what it needs.
        MissingExtraError: It needs an extra that is not installed.
    """
    check_best_metric(recipe)
    records = feed.data.records
    max_images = recipe.train.validate_images or len(records)
    chosen = np.random.default_rng([recipe.seed, 7]).permutation(len(records))[:max_images]
    indices = sorted(int(i) for i in chosen)
    references = References(
        {records[i].image_id: records[i].captions for i in indices},
        tokenizer=recipe.evaluate.tokenize,
    )
    inputs = ScoringOptions.from_recipe(recipe).with_images([records[i] for i in indices]).inputs
    return Validator(captioner, feed, recipe, hardware, indices, references, inputs, team)


def check_best_metric(recipe: Recipe) -> None:
    """Check, before any work, that `train.best_metric` can pick a model.

    Raises:
        MetricError: It is unknown, a group, a metric without a better direction, or one whose
            checkpoint is missing.
        MissingExtraError: It needs an extra that is not installed.
    """
    name = recipe.train.best_metric
    if name in NO_METRIC:
        return
    where = "train.best_metric"
    if name not in METRICS and name in METRIC_GROUPS:
        raise MetricError(
            f"{name!r} is a group of metrics, but a single metric picks the model",
            where=where,
            fix=f"use one of {', '.join(METRIC_GROUPS[name])}, or {', '.join(NO_METRIC)}",
        )
    with located(where):
        require_metrics([name], ScoringOptions.from_recipe(recipe).with_images(()).inputs)
    if METRICS[name].better is None:
        raise MetricError(
            f"neither higher nor lower {name!r} is better, so it cannot pick a model",
            where=where,
            fix="use a metric such as cider, or loss",
        )


def validation_metrics(best_metric: str) -> tuple[str, ...]:
    """Return the metrics computed at each validation."""
    named = [] if best_metric in NO_METRIC else resolve_metrics([best_metric])
    wanted = (*_ALWAYS, *named)
    return tuple(dict.fromkeys(wanted))


def find_value(values: Mapping[str, float], *, metric: str) -> float | None:
    """Return the value that picks the model; `None`: there is none.

    Args:
        values: The values of a validation.
        metric: `train.best_metric`.
    """
    if metric in values:
        return values[metric]
    return values.get(_SAME_ORDER.get(metric, ""))


def is_better(
    value: float,
    best: float | None,
    *,
    metric: str,
    losses: tuple[float | None, float | None] = (None, None),
) -> bool:
    """Return whether `value` beats the best so far; for losses and error rates, lower is better.

    Equal values are common: BLEU-4 is 0 at first, and CIDEr of one image always is. The lower
    validation loss then decides.

    Args:
        value: The new value.
        best: The best value so far; `None`: there is none.
        metric: `train.best_metric`.
        losses: Validation losses of the new and the best step; `None`: unknown.
    """
    if best is None:
        return not np.isnan(value)
    if value == best:
        new, old = losses
        return new is not None and old is not None and new < old
    lower = metric == "loss" or METRICS[metric].better == "lower"
    return value < best if lower else value > best
