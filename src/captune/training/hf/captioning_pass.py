"""One pass over an evaluation set for a `CaptionTrainer`: loss and generated captions.

The vision encoder runs once for both. Captions are kept as text; logits, which would need 4 bytes
per token and vocabulary entry, are not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from itertools import chain, zip_longest
from typing import Any

import torch

from captune.inference import eval_mode, generate, text_backend
from captune.models import Captioner
from captune.recipe import GenerateConfig
from captune.training.hf.collator import Inputs, inputs_batch


@dataclass(frozen=True, slots=True)
class CaptionedImage:
    """One image of the evaluation set.

    Attributes:
        image_id: Id in the data set; empty if it has none.
        caption: Generated caption; empty if the image cannot be read or no captions are generated.
        references: Human captions; empty if there are none.
        is_readable: Whether the image could be decoded; only such images are scored.
    """

    image_id: str
    caption: str
    references: tuple[str, ...]
    is_readable: bool


@dataclass(slots=True)
class PassResult:
    """The result of a pass.

    Attributes:
        loss_sum: Natural-log cross-entropy, summed over `num_tokens`.
        num_tokens: Number of tokens that the loss counts.
        batches: The images of each batch, in order.
    """

    loss_sum: float = 0.0
    num_tokens: int = 0
    batches: list[list[CaptionedImage]] = field(default_factory=list)

    @property
    def images(self) -> list[CaptionedImage]:
        """All images, in the order of the data set."""
        return list(chain.from_iterable(self.batches))


@dataclass(frozen=True, slots=True)
class CaptioningPass:
    """The settings of a pass.

    Attributes:
        captioner: The model with its current weights, on its device.
        config: Decoding settings; `None`: only the loss is computed.
        autocast: Returns the context for the model's passes.
        prepare: Moves inputs to the device.
        after_batch: Called after each batch, for progress bars.
    """

    captioner: Captioner
    config: GenerateConfig | None
    autocast: Callable[[], AbstractContextManager[Any]]
    prepare: Callable[[Inputs], Inputs]
    after_batch: Callable[[], object]

    @torch.inference_mode()
    def run(self, dataloader: Iterable[Inputs]) -> PassResult:
        """Compute loss and captions for the batches of this process."""
        outcome = PassResult()
        with eval_mode(self.captioner):
            with self.autocast():
                text = text_backend(self.captioner)
            for inputs in dataloader:
                self._add(self.prepare(inputs), outcome, text)
                self.after_batch()
        return outcome

    def _add(self, inputs: Inputs, outcome: PassResult, text: Any) -> None:
        batch = inputs_batch(inputs)
        count = len(batch.image_ids)
        captions = [""] * count
        with self.autocast():
            states = self.captioner.vision_states(batch)
            loss = self.captioner.loss_of(states, batch)
            if self.config is not None:
                predictions = generate(
                    self.captioner,
                    states,
                    image_ids=batch.image_ids,
                    config=self.config,
                    backend=text,
                )
                captions = [prediction.caption for prediction in predictions]
        outcome.loss_sum += float(loss.loss_sum)
        outcome.num_tokens += loss.num_tokens
        readable = inputs["readable"].tolist() if "readable" in inputs else [True] * count
        references = inputs.get("references", ((),) * count)
        outcome.batches.append(
            [
                CaptionedImage(image_id, caption if can_read else "", tuple(human), can_read)
                for image_id, caption, human, can_read in zip(
                    batch.image_ids, captions, references, readable, strict=True
                )
            ]
        )


def join_results(outcomes: Sequence[PassResult]) -> PassResult:
    """Return the joined results of all processes, which processed the batches in turns."""
    in_turns = zip_longest(*(outcome.batches for outcome in outcomes), fillvalue=None)
    return PassResult(
        loss_sum=sum(outcome.loss_sum for outcome in outcomes),
        num_tokens=sum(outcome.num_tokens for outcome in outcomes),
        batches=[batch for turn in in_turns for batch in turn if batch is not None],
    )


def scored_images(images: Sequence[CaptionedImage]) -> list[CaptionedImage]:
    """Return the images that can be scored; rows with the same `image_id` are one image."""
    scored: dict[str, CaptionedImage] = {}
    for place, image in enumerate(images):
        if not image.is_readable or not image.references:
            continue
        key = image.image_id or f"#{place}"
        first = scored.get(key)
        human = image.references if first is None else first.references + image.references
        scored[key] = replace(first or image, references=human)
    return list(scored.values())
