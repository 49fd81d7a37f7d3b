"""Validation by loss and by generated captions; the second is what users get."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from PIL import Image

from captune.data import contact_sheet
from captune.inference import generate
from captune.metrics import METRICS, References, compute, resolve_metrics
from captune.models import Captioner
from captune.models.devices import Hardware
from captune.recipe import Recipe
from captune.records import CaptionBatch
from captune.training.feed import Feed

_ALWAYS = ("bleu_4", "cider", "distinct_captions")
_SHOWN = 8
NO_METRIC = ("loss", "last")
"""Values of `train.best_metric` that need no generated captions."""


@dataclass(frozen=True, slots=True)
class Validator:
    """Scores the model on the validation split.

    Attributes:
        captioner: The model as it stands.
        feed: Validation images, shown as they are.
        recipe: Metric, decoding and number of images.
        hardware: Device and precision.
        chosen: Images that captions are generated for, a fixed seeded choice.
        references: Their human captions, counted once.
        captions: What was generated last, by image id.
    """

    captioner: Captioner
    feed: Feed
    recipe: Recipe
    hardware: Hardware
    chosen: Sequence[int]
    references: References
    captions: dict[str, str] = field(default_factory=dict)

    def values(self) -> dict[str, float]:
        """`loss` (natural log, per token) and metrics of generated captions, by name."""
        self.captioner.eval_mode()
        with torch.inference_mode():
            return {"loss": self._loss(), **self._generated()}

    def sheet(self) -> Image.Image | None:
        """The same few images each time, with what was generated last and one human caption."""
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
        loss_sum, num_tokens = 0.0, 0
        for batch in self._batches(range(len(self.feed.data.records))):
            with self.hardware.autocast():
                loss = self.captioner.loss(batch)
            loss_sum += float(loss.loss_sum)
            num_tokens += loss.num_tokens
        return loss_sum / max(1, num_tokens)

    def _generated(self) -> dict[str, float]:
        config = self.recipe.generate.model_copy(
            update={"num_beams": self.recipe.train.validate_beams, "do_sample": False}
        )
        captions = {}
        for batch in self._batches(self.chosen):
            with self.hardware.autocast():
                states = self.captioner.vision_states(batch)
                predictions = generate(
                    self.captioner, states, image_ids=batch.image_ids, config=config
                )
            captions.update({p.image_id: p.caption for p in predictions})
        self.captions.update(captions)
        metrics = validation_metrics(self.recipe.train.best_metric)
        results = compute(self.references, captions, metrics=metrics)
        return {name: float(results.corpus[name]) for name in metrics}

    def _batches(self, indices: Sequence[int]) -> Iterator[CaptionBatch]:
        size = self.recipe.evaluate.batch_size
        lengths = self.feed.data.row_lengths
        ordered = sorted(indices, key=lambda i: lengths[i])
        micros = [tuple(ordered[at : at + size]) for at in range(0, len(ordered), size)]
        for batch in self.feed.single_batches(micros):
            yield batch.to(self.hardware.device)


def make_validator(
    captioner: Captioner, feed: Feed, *, recipe: Recipe, hardware: Hardware
) -> Validator:
    """A validator over a fixed choice of at most `train.validate_images` images."""
    records = feed.data.records
    most = recipe.train.validate_images or len(records)
    chosen = np.random.default_rng([recipe.seed, 7]).permutation(len(records))[:most]
    indices = sorted(int(i) for i in chosen)
    references = References({records[i].image_id: records[i].captions for i in indices})
    return Validator(captioner, feed, recipe, hardware, indices, references)


def validation_metrics(best_metric: str) -> tuple[str, ...]:
    """Metrics computed at each validation."""
    named = [] if best_metric in NO_METRIC else resolve_metrics([best_metric])
    wanted = (*_ALWAYS, *named)
    return tuple(dict.fromkeys(wanted))


def is_better(value: float, best: float | None, *, metric: str) -> bool:
    """Whether `value` beats the best so far; losses and error rates go down."""
    if best is None:
        return not np.isnan(value)
    lower = metric == "loss" or METRICS[metric].better == "lower"
    return value < best if lower else value > best
