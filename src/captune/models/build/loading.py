"""Weights from a folder or hub id, with every key accounted for.

When keys are missing, transformers prints a table and continues with random weights; a captioner
without its decoder's weights would then be trained, scored and saved.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer
from transformers.utils import (
    CONFIG_NAME,
    GENERATION_CONFIG_NAME,
    IMAGE_PROCESSOR_NAME,
    PROCESSOR_NAME,
)

from captune.errors import ModelError
from captune.hub import (
    ADAPTER_FILE,
    NamedErrors,
    adapter_error,
    load_pretrained,
    name_file,
    read_json_file,
)
from captune.models.build.config_rules import check_config, check_decoding, check_token_ids
from captune.models.build.processor_rules import FAILURES, check_processor
from captune.storage import expand_home
from captune.suggest import format_count

_log = logging.getLogger("captune.models")

# Buffers that old transformers saved as weights: position ids and GPT-2's causal masks.
_OLD_BUFFERS = r"(^|\.)position_ids$|\.attn\.(masked_)?bias$|\.crossattention\.(masked_)?bias$"
_CROSSING = r"crossattention|ln_cross_attn"
# A pooler feeds classifiers; captions are written from the states below it.
_POOLERS = r"(^|\.)pooler\."
_VOCABULARIES = ("tokenizer.json", "vocab.*", "*.model", "*.tiktoken")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "added_tokens.json")


@dataclass(frozen=True, slots=True)
class Expected:
    """Keys (regular expressions) that may differ between a model and its weights.

    Attributes:
        missing: Keys that may be absent and start from random values.
        unexpected: Keys in the file that are ignored without a warning.
    """

    missing: str = _POOLERS
    unexpected: str = _OLD_BUFFERS


EVERY_KEY = Expected()
"""A complete captioner: only a pooler, which captions do not use, may be new."""

ENCODER_ONLY = Expected(unexpected="")
"""A vision encoder from any checkpoint: heads of other tasks are ignored."""

DECODER_ONLY = Expected(missing=_CROSSING + r"|^cls\.|^lm_head|" + _POOLERS, unexpected="")
"""A language model: cross-attention to the image may be new, and so may the output head."""


def load_weights(
    model_class: Any, source: str, *, where: str, expected: Expected, **settings: Any
) -> tuple[Any, tuple[str, ...]]:
    """Load the model in float32 with eager attention; also return the keys with random values.

    float32, because half-precision weights cannot be trained with AdamW, and are slow or not
    supported on CPUs; autocast restores the speed on hardware with half precision.

    Args:
        model_class: A transformers class.
        source: Folder or hub id.
        where: Recipe key or argument, for errors.
        expected: Keys that may differ.
        **settings: Arguments of `from_pretrained`.

    Raises:
        ModelError: The files cannot be read, or their weights are not those of the model.
    """
    model, report = load_pretrained(
        model_class,
        source,
        where=where,
        dtype=torch.float32,
        attn_implementation="eager",
        weights_only=True,
        ignore_mismatched_sizes=True,  # reported below with names and sizes
        output_loading_info=True,
        **settings,
    )
    if report["mismatched_keys"]:
        name, found, wanted = min(report["mismatched_keys"])
        raise ModelError(
            f"the weights of {source!r} do not fit its config.json: {name} is {tuple(found)},"
            f" the config needs {tuple(wanted)}",
            where=where,
            fix="use config.json and weights of one and the same model",
        )
    missing = sorted(report["missing_keys"])
    lost = [key for key in missing if not re.search(expected.missing, key)]
    if lost:
        raise ModelError(
            f"the weights of {source!r} lack {_listed(lost)}",
            where=where,
            fix="use the complete checkpoint; captune does not continue with random weights",
        )
    unexpected = [k for k in report["unexpected_keys"] if not re.search(expected.unexpected, k)]
    if unexpected and expected.unexpected:
        _log.warning("%s: %s not used by this model", source, _listed(sorted(unexpected)))
    return model, tuple(key for key in missing if not re.search(_POOLERS, key))


def read_config(source: str, *, where: str, **settings: Any) -> Any:
    """Return the transformers config of a model after checking the values in its files.

    Args:
        source: Folder or hub id.
        where: Recipe key or argument, for errors.
        **settings: Arguments of `from_pretrained`.

    Raises:
        ModelError: config.json or generation_config.json cannot be read, or holds a value that is
            not allowed.
    """
    revision = settings.get("revision")
    raw, generation = (
        read_json_file(source, name, where=where, revision=revision)
        for name in (CONFIG_NAME, GENERATION_CONFIG_NAME)
    )
    if raw is None:
        adapter = read_json_file(source, ADAPTER_FILE, where=where, revision=revision)
        if adapter is not None:
            raise adapter_error(source, adapter, where=where)
    else:
        check_config(raw, name_file(source, CONFIG_NAME), where=where)
    config = load_pretrained(AutoConfig, source, where=where, **settings)
    vocab_size = getattr(config.get_text_config(decoder=True), "vocab_size", None)
    for name, content in ((CONFIG_NAME, raw), (GENERATION_CONFIG_NAME, generation)):
        if content is None:
            continue
        file = name_file(source, name)
        if name == GENERATION_CONFIG_NAME:
            check_decoding(content, file, where=where)
        if vocab_size is not None:
            check_token_ids(content, vocab_size, file=file, where=where)
    return config


def load_tokenizer(source: str, *, where: str, **settings: Any) -> Any:
    """Load the tokenizer of a folder or hub id.

    Raises:
        ModelError: The tokenizer cannot be read, does not work, or is empty: for a folder without
            a tokenizer, transformers creates one of special tokens only.
    """
    folder = expand_home(source)
    of_run = folder / "model"
    none = ModelError(
        f"{source!r} has no tokenizer (tokenizer.json, vocab.txt, or vocab.json and merges.txt)",
        where=where,
        fix=f"give the folder of the run's model, {of_run}"
        if _has_vocabulary(of_run)
        else "copy the tokenizer's files into it, or set model.tokenizer",
    )
    if folder.is_dir() and not _has_vocabulary(folder):
        raise none
    try:
        tokenizer = load_pretrained(AutoTokenizer, source, where=where, **settings)
    except ModelError as error:
        if not folder.is_dir():
            raise
        raise _explain_tokenizer(folder, error, where=where) from error
    if len(tokenizer) <= _try_tokenizer(tokenizer, source, where=where):
        raise none
    return tokenizer


def _has_vocabulary(folder: Path) -> bool:
    return any(next(folder.glob(name), None) for name in _VOCABULARIES)


def _explain_tokenizer(folder: Path, error: ModelError, *, where: str) -> ModelError:
    """Return the error of a local tokenizer with the file that is damaged, if one is."""
    fix = "copy the model's tokenizer files again"
    for name in _TOKENIZER_FILES:
        try:
            content = read_json_file(str(folder), name, where=where)
        except ModelError as fault:
            return fault
        if not isinstance(content, dict | None):
            what = f"{folder / name} is not a JSON object"
            return ModelError(what, where=where, fix=fix)
    return ModelError(f"{error.what} (while reading its tokenizer)", where=where, fix=fix)


def _try_tokenizer(tokenizer: Any, source: str, *, where: str) -> int:
    """Encode and decode a few words, one that no vocabulary has among them.

    Returns:
        Number of special tokens.

    Raises:
        ModelError: The tokenizer fails on them.
    """
    fix = "copy the model's tokenizer files again"
    try:
        special_ids = set(tokenizer.all_special_ids)
    except RecursionError as error:
        # transformers looks up a token that is not in the vocabulary as the one for unknown words.
        raise ModelError(
            f"the tokenizer of {source!r} has no token {tokenizer.unk_token!r}, which its settings"
            " name as the one for unknown words",
            where=where,
            fix=fix,
        ) from error
    try:
        with NamedErrors():
            ids = tokenizer("a photo of two dogs qzxjv", add_special_tokens=False).input_ids
            tokenizer.decode(ids, skip_special_tokens=True)
    except FAILURES as error:
        raise ModelError(
            f"the tokenizer of {source!r} fails on a caption: {error}", where=where, fix=fix
        ) from error
    return len(special_ids)


def load_image_processor(source: str, *, where: str, **settings: Any) -> Any:
    """Load the image processor of a folder or hub id, with PIL: equal pixels on every machine.

    Raises:
        ModelError: The processor cannot be read, or holds a value that is not allowed.
    """
    # transformers prefers the nested settings of the newer file.
    for name, key in ((PROCESSOR_NAME, "image_processor"), (IMAGE_PROCESSOR_NAME, None)):
        content = read_json_file(source, name, where=where, revision=settings.get("revision"))
        own = content.get(key) if key and isinstance(content, dict) else content
        if own is not None:
            check_processor(own, name_file(source, name), where=where)
            break
    return load_pretrained(AutoImageProcessor, source, where=where, backend="pil", **settings)


def log_new_weights(keys: Collection[str], source: str) -> None:
    """Log one line about the expected random weights of a joined decoder."""
    crossing = sum(1 for key in keys if re.search(_CROSSING, key))
    groups = {"cross-attention to the image": crossing, "the output head": len(keys) - crossing}
    new = " and ".join(
        f"{name} ({format_count(count, 'weight')})" for name, count in groups.items() if count
    )
    if new:
        _log.warning("%s: %s: new, starting from random values", source, new)


def _listed(keys: list[str]) -> str:
    shown = ", ".join(keys[:3])
    return f"{shown} and {len(keys) - 3} more" if len(keys) > 3 else shown
