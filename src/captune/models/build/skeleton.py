"""A model without weights, on torch's `meta` device, to check what its files specify.

Nothing is allocated or computed: shapes alone show whether the parts match each other, the image
processor and the weights on disk.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch

from captune.errors import ModelError
from captune.hub import quiet_transformers, weight_files
from captune.models.build.processor_rules import FAILURES
from captune.models.captioner import Captioner
from captune.models.packing import additive_mask
from captune.records import VisionInputs

# A head or pooler may be new: it is not part of the file.
_NEW_PARAMETERS = 50_000_000


def build_skeleton(model_class: Any, config: Any, *, file: str, where: str) -> Any:
    """Return the model that a config describes, without weights.

    Args:
        model_class: A transformers class, possibly an `Auto` class.
        config: The model's transformers config.
        file: The config's file, for errors.
        where: Recipe key or argument, for errors.

    Raises:
        ModelError: The config's values contradict each other.
    """
    # A copy, because building changes the config.
    config = copy.deepcopy(config)
    is_auto = hasattr(model_class, "from_config")
    build = model_class.from_config if is_auto else model_class._from_config
    try:
        with torch.device("meta"), quiet_transformers():
            return build(config, attn_implementation="eager").eval()
    except FAILURES as error:
        raise ModelError(
            f"{file}: no model can be built from it: {_reason(error)}",
            where=where,
            fix="use the config.json that was saved with the weights",
        ) from error


def check_weights_fit(skeleton: Any, folder: Path, *, where: str) -> None:
    """Check that a config does not need far more parameters than the weights on disk hold.

    transformers would allocate them all before it reports the first one that does not match.

    Args:
        skeleton: From `build_skeleton`.
        folder: The model's folder; one that does not exist is a hub id, and is not checked.
        where: Recipe key or argument, for errors.

    Raises:
        ModelError: There are more parameters than bytes of weights.
    """
    if not folder.is_dir():
        return
    needed = sum(parameter.numel() for parameter in skeleton.parameters())
    size = sum(file.stat().st_size for file in weight_files(folder))
    if needed > size + _NEW_PARAMETERS:
        raise ModelError(
            f"{folder / 'config.json'} needs {needed:,} parameters, the weights beside it have"
            f" {size:,} bytes",
            where=where,
            fix="use config.json and weights of one and the same model",
        )


def try_skeleton(captioner: Captioner, inputs: VisionInputs, *, source: str, where: str) -> None:
    """Run one image and two tokens through a captioner without weights.

    Args:
        captioner: The captioner of a model from `build_skeleton`.
        inputs: The model inputs of one image, from its image transform.
        source: Folder or hub id, for errors.
        where: Recipe key or argument, for errors.

    Raises:
        ModelError: A special token is outside the vocabulary, or the parts do not match.
    """
    _check_own_ids(captioner, source, where=where)
    try:
        with torch.device("meta"), torch.no_grad():
            context = captioner.start_decoding(captioner.encode(inputs.to("meta")))
            hidden = captioner.hidden_states(
                context,
                torch.zeros((1, 2), dtype=torch.int64),
                position_ids=torch.zeros((1, 2), dtype=torch.int64),
                attention_mask=additive_mask(torch.ones((1, 1, 2, 2)).bool(), torch.float32),
            )
            captioner.lm_head(hidden)
    except FAILURES as error:
        if isinstance(error, NotImplementedError) or "meta" in str(error):
            return  # an operation that needs values cannot be tried without weights
        raise ModelError(
            f"the model {source!r} does not accept {_describe(inputs)}, which its image processor"
            f" returns: {_reason(error)}",
            where=where,
            fix="use the config.json and preprocessor_config.json that were saved with the weights",
        ) from error


def _describe(inputs: VisionInputs) -> str:
    if inputs.tensors.keys() == {"pixel_values"}:
        height, width = inputs.pixel_values.shape[-2:]
        return f"an image of {height}x{width} pixels"
    return ", ".join(f"{name} {tuple(t.shape[1:])}" for name, t in inputs.tensors.items())


def _check_own_ids(captioner: Captioner, source: str, *, where: str) -> None:
    vocab_size = captioner.model.get_input_embeddings().num_embeddings
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        try:
            value = getattr(captioner, name)
        except (TypeError, ValueError) as error:
            raise ModelError(
                f"the model {source!r} has no {name}: {error}",
                where=where,
                fix=f"set {name} in its config.json: an integer from 0 to {vocab_size - 1:,}",
            ) from error
        if not 0 <= value < vocab_size:
            raise ModelError(
                f"the model {source!r} has {name} {value}, outside its vocabulary of"
                f" {vocab_size:,} tokens",
                where=where,
                fix=f"set it in its config.json: an integer from 0 to {vocab_size - 1:,}",
            )


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300] or type(error).__name__
