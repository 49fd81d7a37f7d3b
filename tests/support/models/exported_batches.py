"""An exported model without the check of its captions, and the comparison of captions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from captune.export.convert import trace_examples, write_graphs
from captune.export.image_recipe import image_recipe
from captune.inference import ExportFormat
from captune.inference.exported.folder import ExportedModel, read_exported
from captune.inference.exported.graphs import compile_graphs
from captune.inference.exported.precisions import FP32
from captune.inference.exported.runtime import ExportedPass, ExportedRuntime
from captune.inference.exported.text_tokens import TextTokens
from captune.models import Captioner, suppressed_tokens
from captune.recipe import GenerateConfig
from captune.records import Prediction
from captune.serving.engine.continuous import settled_words
from support.models.wild_models import noise_images


def exported_batches(captioner: Captioner, kind: ExportFormat, folder: Path) -> ExportedPass:
    """Write the graphs of a captioner into a folder, and return them ready for batches."""
    examples = trace_examples(captioner, noise_images()[:1])
    write_graphs(examples, folder, kind=kind)
    captioner.tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    model = ExportedModel(
        folder=folder,
        format=kind,
        prefix_ids=captioner.prefix_ids(),
        eos_token_id=captioner.eos_token_id,
        max_positions=captioner.max_positions,
        suppressed_ids=suppressed_tokens(captioner.model.generation_config),
        decoding={},
        width=examples.width,
        image=image_recipe(captioner),
        cleans_up=False,
    )
    return open_batches(model)


def open_exported(folder: Path) -> ExportedPass:
    """Return the exported model of a folder, ready for batches in float32."""
    return open_batches(read_exported(folder))


def open_batches(model: ExportedModel) -> ExportedPass:
    """Compile the graphs of an exported model, or load them from the cache."""
    graphs = compile_graphs(model, precisions=FP32)
    tokens = TextTokens(model.folder, cleans_up=model.cleans_up, vocabulary=graphs.sizes.vocabulary)
    return ExportedRuntime(model, graphs, tokens).open()


def caption_joining(
    batches: ExportedPass, batch: list[tuple[str, Any]], config: GenerateConfig, *, at_once: int
) -> list[Prediction]:
    """Start with two images; others join after each two steps, whether or not rows are free."""
    running = batches.run(config)
    found, texts = dict(running.add(batch[:2])), dict[int, list[str]]()

    def step() -> None:
        for number in set(range(running.next_number)) - set(found):
            texts.setdefault(number, []).append(running.text_so_far(number))
        found.update(running.step())

    for start in range(2, len(batch), at_once):
        for _ in range(2):
            if len(found) < running.next_number:
                step()
        found.update(running.add(batch[start : start + at_once]))
    while len(found) < len(batch):
        step()
    assert any(map(any, texts.values())) is (config.num_beams == 1)
    for number, parts in texts.items():
        assert all(found[number].caption.startswith(settled_words(text)) for text in parts)
    return [found[number] for number in range(len(batch))]


def assert_same(found: list[Prediction], expected: list[Prediction], name: str) -> None:
    """Check that captions equal others; `name` says which they are."""
    for one, other in zip(found, expected, strict=True):
        assert (one.image_id, one.caption, one.num_tokens) == (
            other.image_id,
            other.caption,
            other.num_tokens,
        ), name
        assert (one.finish_reason, one.flags) == (other.finish_reason, other.flags), name
        assert one.mean_logprob == pytest.approx(other.mean_logprob, abs=2e-3), name
