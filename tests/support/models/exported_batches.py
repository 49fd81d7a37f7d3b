"""An exported model without the check of its captions, and the comparison of captions."""

from __future__ import annotations

from pathlib import Path

import pytest

from captune.export.convert import trace_examples, write_graphs
from captune.export.image_recipe import image_recipe
from captune.inference import ExportFormat
from captune.inference.exported.folder import ExportedModel
from captune.inference.exported.graphs import compile_graphs
from captune.inference.exported.precisions import FP32
from captune.inference.exported.runtime import ExportedPass, ExportedRuntime
from captune.inference.exported.text_tokens import TextTokens
from captune.models import Captioner, suppressed_tokens
from captune.records import Prediction
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
    graphs = compile_graphs(model, precisions=FP32)
    return ExportedRuntime(model, graphs, TextTokens(folder, cleans_up=False)).open()


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
