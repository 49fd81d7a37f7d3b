"""Caption prepared images with an exported model: batches, search and text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from captune.inference.decoding.quality import flag_caption
from captune.inference.decoding.task import Hypothesis, SearchTask, limit_new_tokens
from captune.inference.exported.beam_rows import search_beam_rows
from captune.inference.exported.branch_rows import BranchRows
from captune.inference.exported.folder import ExportedModel
from captune.inference.exported.graphs import Graph, Graphs
from captune.inference.exported.image_levels import Pixels
from captune.inference.exported.single_rows import search_single_rows
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
        token_ids = hypothesis.token_ids
        has_ended = token_ids[-1] == task.eos_token_id
        tokens = token_ids[:-1] if has_ended else token_ids
        prompt = task.prompt_ids[len(self.model.prefix_ids) :]
        caption = self.words.decode([*prompt, *tokens])
        return Prediction(
            image_id=image_id,
            caption=caption,
            mean_logprob=hypothesis.logprob_sum / len(token_ids),
            num_tokens=len(token_ids),
            finish_reason="eos" if has_ended else "length",
            flags=flag_caption(caption),
        )


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
        image_keys = self.vision([np.stack([pixels for _, pixels in batch])])
        found = [self._search(image_keys, image_ids, config) for config in configs]
        return list(zip(*found, strict=True))

    def run(self, config: GenerateConfig) -> None:  # noqa: ARG002
        """Return `None`: the images of a batch start together; see `BatchCaptioner.run`."""
        return

    def _search(
        self, image_keys: list[Any], image_ids: list[str], config: GenerateConfig
    ) -> list[Prediction]:
        task = self.runtime.plan(image_ids, config=config)
        rows = BranchRows(self.step, image_keys, width=self.runtime.model.width)
        first = rows.prefill(task.prompt_ids)
        search = search_beam_rows if config.num_beams > 1 else search_single_rows
        hypotheses = search(rows, first, task=task)
        return [
            self.runtime.predict(hypothesis, image_id=image_id, task=task)
            for image_id, hypothesis in zip(image_ids, hypotheses, strict=True)
        ]
