"""Batches of prepared images, captioned by a torch model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from PIL import Image

from captune.hardware import Hardware, Recorder, without_autocast
from captune.inference.decoding.decode import (
    eval_mode,
    generate,
    plan_search,
    start_search,
    to_caption,
    to_text,
)
from captune.inference.decoding.replayed.search import ReplayedSearch
from captune.inference.decoding.running import RunningSearch
from captune.inference.decoding.task import Hypothesis, SearchTask
from captune.models import InferenceForm
from captune.recipe import GenerateConfig
from captune.records import Prediction, VisionInputs


@dataclass(frozen=True, slots=True)
class TorchBatches:
    """See `BatchCaptioner`.

    Attributes:
        form: The model, arranged for captioning.
        hardware: Device and precision.
        transform: Converts an RGB image to the inputs of one image.
        recorder: Records decoding steps; `None`: the device does not.
    """

    form: InferenceForm
    hardware: Hardware
    transform: Callable[[Image.Image], VisionInputs]
    recorder: Recorder | None = None

    def prepare(self, image: Image.Image) -> VisionInputs:
        """Return the model inputs of an upright RGB image."""
        return self.transform(image)

    @torch.inference_mode()
    def caption(
        self, batch: Sequence[tuple[str, VisionInputs]], configs: Sequence[GenerateConfig]
    ) -> list[tuple[Prediction, ...]]:
        """Return the captions of each image, one per config; see `BatchCaptioner`."""
        image_ids = [image_id for image_id, _ in batch]
        with eval_mode(self.form.captioner):
            states = self.encode(batch)
            found = [
                generate(
                    self.form.captioner,
                    states,
                    image_ids=image_ids,
                    config=config,
                    backend=self.form.text,
                )
                for config in configs
            ]
        return list(zip(*found, strict=True))

    def encode(self, batch: Sequence[tuple[str, VisionInputs]]) -> torch.Tensor:
        """Return the vision states (B, S, D) of a batch."""
        inputs = VisionInputs.join([inputs for _, inputs in batch])
        return self.form.encode(inputs.to(self.hardware.device))

    def run(self, config: GenerateConfig) -> RunningCaptions:
        """Return captions with these settings that take images while others continue.

        Raises:
            ModelError: The prompt leaves no room for a caption.
        """
        task = plan_search(self.form.captioner, (), config=config)
        search = start_search(self.form.text, task, recorder=self.recorder)
        return RunningCaptions(self, task, search)


@dataclass(slots=True)
class RunningCaptions:
    """Images being captioned in rows, which take new images as others end.

    Captions equal those of `TorchBatches.caption`, except that matrix products of other shapes
    round differently.

    Attributes:
        batches: The model.
        task: Decoding settings.
        search: The images' searches.
        next_number: Number of the image that is added next; images are counted from 0.
    """

    batches: TorchBatches
    task: SearchTask
    search: RunningSearch | ReplayedSearch
    next_number: int = 0
    _image_ids: dict[int, str] = field(default_factory=dict)

    @property
    def num_running(self) -> int:
        """Number of images whose captions have not ended."""
        return self.search.num_running

    @property
    def num_free(self) -> int:
        """Number of rows whose images have ended, which `add` fills first."""
        return self.search.num_free

    @property
    def may_add(self) -> bool:
        """Whether `add` accepts images now; always true while none are running."""
        return self.search.may_replace

    @torch.inference_mode()
    def add(self, batch: Sequence[tuple[str, VisionInputs]]) -> list[tuple[int, Prediction]]:
        """Start images; return the captions that end with their first token, by number.

        If fewer rows are free, rows are added.

        Args:
            batch: Pairs of an id, which seeds sampling, and the inputs from `prepare`.
        """
        image_ids = [image_id for image_id, _ in batch]
        with eval_mode(self.batches.form.captioner):
            states = self.batches.encode(batch)
            self._image_ids |= dict(enumerate(image_ids, self.next_number))
            self.next_number += len(batch)
            with without_autocast(states.device):
                return self._write(self.search.add(image_ids, states))

    @torch.inference_mode()
    def advance(self, *, free: int = 1, is_last: bool = False) -> list[tuple[int, Prediction]]:
        """Caption until rows are free or none are left; return the captions that end, by number.

        Args:
            free: Number of rows.
            is_last: Whether no more images come while these run, so that free rows are dropped.
        """
        ended: list[tuple[int, Hypothesis]] = []
        captioner = self.batches.form.captioner
        with eval_mode(captioner), without_autocast(captioner.device):
            while self.num_running and (is_last or self.num_free < free or not self.may_add):
                if is_last or not self.may_add:
                    self.search.drop_free_rows()
                ended += self.search.step()
        return self._write(ended)

    @torch.inference_mode()
    def step(self) -> list[tuple[int, Prediction]]:
        """Append a token to all captions; return those that end with it, by number.

        The model must be in eval mode: setting it takes as long as a step of a small model.
        """
        with without_autocast(self.batches.form.captioner.device):
            self.search.drop_free_rows()
            return self._write(self.search.step())

    @torch.inference_mode()
    def drop(self, number: int) -> None:
        """Stop an image that has not ended, because nobody waits for its caption any more."""
        self.search.drop(number)
        del self._image_ids[number]

    def text_so_far(self, number: int) -> str:
        """Return the text of a running image's tokens so far; empty in beam search."""
        token_ids = self.search.tokens_so_far(number)
        return to_text(self.batches.form.captioner, token_ids, task=self.task) if token_ids else ""

    def _write(self, ended: list[tuple[int, Hypothesis]]) -> list[tuple[int, Prediction]]:
        captioner = self.batches.form.captioner
        return [
            (
                number,
                to_caption(
                    captioner, hypothesis, image_id=self._image_ids.pop(number), task=self.task
                ),
            )
            for number, hypothesis in ended
        ]
