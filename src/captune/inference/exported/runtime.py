"""Caption prepared images with an exported model: batches, search and text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from captune.inference.decoding.task import Hypothesis, SearchTask, limit_new_tokens
from captune.inference.exported.folder import ExportedModel
from captune.inference.exported.graphs import Array, Graph, Graphs
from captune.inference.exported.image_levels import Pixels
from captune.inference.exported.search.running_rows import RunningRows
from captune.inference.exported.text_tokens import TextTokens
from captune.recipe import GenerateConfig
from captune.records import Prediction


@dataclass(frozen=True, slots=True)
class ExportedRuntime:
    """A loaded exported model.

    Attributes:
        model: Contents of export.json.
        graphs: The compiled graphs.
        words: The tokenizer.
    """

    model: ExportedModel
    graphs: Graphs
    words: TextTokens

    def plan(self, image_ids: Sequence[str], *, config: GenerateConfig) -> SearchTask:
        """Return the task of a search, in the tokens of this model.

        Raises:
            ModelError: The prompt leaves no room for a caption.
        """
        prompt_ids = (*self.model.prefix_ids, *self.words.encode(config.prompt))
        return SearchTask(
            config=config,
            image_ids=tuple(image_ids),
            prompt_ids=prompt_ids,
            eos_token_id=self.model.eos_token_id,
            max_new_tokens=limit_new_tokens(
                config, prompt_ids, max_positions=self.model.max_positions
            ),
            suppressed_ids=self.model.suppressed_ids,
        )

    def open(self) -> ExportedPass:
        """Return a pass over images with its own buffers; use one per thread."""
        return ExportedPass(self, self.graphs.open_vision(), self.graphs.open_step())

    def predict(self, hypothesis: Hypothesis, *, image_id: str, task: SearchTask) -> Prediction:
        """Return the caption of generated tokens."""
        return hypothesis.predict(
            image_id, task=task, write=lambda token_ids: self.write(token_ids, task=task)
        )

    def write(self, token_ids: Sequence[int], *, task: SearchTask) -> str:
        """Return the text of the prompt and of generated tokens, without the end token."""
        prompt = task.prompt_ids[len(self.model.prefix_ids) :]
        return self.words.decode([*prompt, *token_ids])


@dataclass(frozen=True, slots=True)
class ExportedPass:
    """One pass over images; see `BatchCaptioner`.

    Attributes:
        runtime: The model.
        vision: Graph from pixels to image keys.
        step: Graph from tokens to scores.
    """

    runtime: ExportedRuntime
    vision: Graph
    step: Graph

    def prepare(self, image: Image.Image) -> Pixels:
        """Return the model input (C, H, W) of an upright RGB image."""
        return self.runtime.model.image(image)

    def caption(
        self, batch: Sequence[tuple[str, Pixels]], configs: Sequence[GenerateConfig]
    ) -> list[tuple[Prediction, ...]]:
        """Return the captions of each image, one per config; see `BatchCaptioner.caption`."""
        image_ids = [image_id for image_id, _ in batch]
        image_keys = self.encode(self.vision, batch)
        found = [self._search(image_keys, image_ids, config) for config in configs]
        return list(zip(*found, strict=True))

    def run(self, config: GenerateConfig) -> RunningExported:
        """Return a batch that images join while it runs; see `BatchCaptioner.run`."""
        task = self.runtime.plan((), config=config)
        rows = RunningRows(self.step, task, width=self.runtime.model.width)
        return RunningExported(self, task, rows)

    def encode(self, vision: Graph, batch: Sequence[tuple[str, Pixels]]) -> list[Array]:
        """Return the keys and values of a batch, which are valid until the graph's next call."""
        return vision([np.stack([pixels for _, pixels in batch])])

    def _search(
        self, image_keys: list[Array], image_ids: list[str], config: GenerateConfig
    ) -> list[Prediction]:
        task = self.runtime.plan(image_ids, config=config)
        rows = RunningRows(self.step, task, width=self.runtime.model.width)
        found = dict(rows.add(image_ids, image_keys))
        while rows.num_running:
            rows.drop_free_rows()
            found.update(rows.step())
        return [
            self.runtime.predict(found[number], image_id=image_id, task=task)
            for number, image_id in enumerate(image_ids)
        ]


@dataclass(slots=True)
class RunningExported:
    """Images being captioned, which others join; see `RunningBatch`.

    Captions equal those of `ExportedPass.caption`, except that matrix products of other shapes
    round differently.

    Attributes:
        batches: The model.
        task: Decoding settings.
        rows: The images' searches.
        next_number: Number of the image that is added next; images are counted from 0.
        may_add: Whether images can join: always.
    """

    batches: ExportedPass
    task: SearchTask
    rows: RunningRows
    next_number: int = 0
    may_add: bool = True
    _image_ids: dict[int, str] = field(default_factory=dict)
    _second: Graph | None = None

    def add(self, batch: Sequence[tuple[str, Pixels]]) -> list[tuple[int, Prediction]]:
        """Start images; return the captions that end with their first token, by number."""
        image_ids = [image_id for image_id, _ in batch]
        keys = self.batches.encode(self._choose_vision(), batch)
        self._image_ids |= dict(enumerate(image_ids, self.next_number))
        self.next_number += len(batch)
        return self._write(self.rows.add(image_ids, keys))

    def step(self) -> list[tuple[int, Prediction]]:
        """Append a token to all captions; return those that end with it, by number."""
        self.rows.drop_free_rows()
        return self._write(self.rows.step())

    def drop(self, number: int) -> None:
        """Stop an image that has not ended, because nobody waits for its caption any more."""
        self.rows.drop(number)
        del self._image_ids[number]

    def text_so_far(self, number: int) -> str:
        """Return the text of a running image's tokens so far; empty in beam search."""
        tokens = self.rows.tokens_so_far(number)
        return self.batches.runtime.write(tokens, task=self.task) if tokens else ""

    def _choose_vision(self) -> Graph:
        """Return a graph whose outputs no running image reads: its next call overwrites them."""
        if not self.rows.num_running:
            return self.batches.vision
        if self._second is None:
            self._second = self.batches.runtime.graphs.open_vision()
        return self._second

    def _write(self, ended: list[tuple[int, Hypothesis]]) -> list[tuple[int, Prediction]]:
        predict = self.batches.runtime.predict
        return [
            (number, predict(found, image_id=self._image_ids.pop(number), task=self.task))
            for number, found in ended
        ]
