"""A model's own decoding settings, stored in its generation_config.json.

A fine-tuned model is decoded with its recipe's settings wherever it is loaded: by captune, and by
plain `model.generate()` (except BLIP's, whose decoder does not read the file).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from transformers.utils import CONFIG_NAME, GENERATION_CONFIG_NAME

from captune.errors import ModelError
from captune.hub import is_local, load_pretrained, split_revision
from captune.models.captioner import Captioner
from captune.recipe import BEAM_SETTINGS, SAMPLING_SETTINGS, GenerateConfig
from captune.storage import expand_home

# A model stores no seed and no prompt: they belong to a single use of it.
_KNOWN = tuple(name for name in GenerateConfig.model_fields if name not in ("seed", "prompt"))
# transformers refuses to save settings that have no effect with the others.
_ALWAYS = tuple(name for name in _KNOWN if name not in (*BEAM_SETTINGS, *SAMPLING_SETTINGS))


def write_decoding(model: Any, config: GenerateConfig) -> None:
    """Set a recipe's decoding as the transformers model's own, which is saved with it."""
    names = [*_ALWAYS]
    names += BEAM_SETTINGS if config.num_beams > 1 else ()
    names += SAMPLING_SETTINGS if config.do_sample else ()
    for name in _KNOWN:
        setattr(model.generation_config, name, getattr(config, name) if name in names else None)
    # Otherwise transformers treats the values as guesses from an old config.json.
    model.generation_config._from_model_config = False


def suppress_unknown(captioner: Captioner) -> None:
    """Forbid the token of unknown words, which would leave a gap: "a man is sitting on a".

    A vocabulary of frequent words has learned that token for all other words. The token stays
    allowed if it is also another special token, like GPT-2's.
    """
    unknown = captioner.tokenizer.unk_token_id
    needed = (captioner.bos_token_id, captioner.eos_token_id, captioner.pad_token_id)
    if unknown is not None and unknown not in needed:
        captioner.model.generation_config.suppress_tokens = [unknown]


def suppressed_tokens(generation_config: Any) -> tuple[int, ...]:
    """Return the ids that a transformers `GenerationConfig` forbids at every step."""
    return tuple(getattr(generation_config, "suppress_tokens", None) or ())


def model_decoding(generation_config: Any) -> dict[str, Any]:
    """Return the settings of a transformers `GenerationConfig` as fields of `GenerateConfig`.

    Settings that transformers derived from config.json, and values that captune's fields do not
    accept, are skipped.
    """
    if generation_config is None or getattr(generation_config, "_from_model_config", False):
        return {}
    settings = {name: getattr(generation_config, name, None) for name in _KNOWN}
    fitting = {name: value for name, value in settings.items() if _fits(name, value)}
    if fitting.get("do_sample") and int(fitting.get("num_beams") or 1) > 1:
        # Sampling within beams: captune's beam search is deterministic.
        fitting = {n: v for n, v in fitting.items() if n not in ("do_sample", *SAMPLING_SETTINGS)}
    return fitting


def read_decoding(source: str, *, revision: str | None = None) -> dict[str, Any]:
    """Return the same settings for a model that is not loaded: a folder, hub id or `id@revision`.

    Raises:
        ModelError: The folder or the hub cannot be read; the file itself is optional.
    """
    from transformers import GenerationConfig

    if is_local(source) and not (expand_home(source) / GENERATION_CONFIG_NAME).is_file():
        return {}
    settings = {} if revision is None else {"revision": revision}
    try:
        return model_decoding(load_pretrained(GenerationConfig, source, where="MODEL", **settings))
    except ModelError as error:
        if _only_this_file_is_missing(error, source, revision=revision):
            return {}
        raise


def _only_this_file_is_missing(error: ModelError, source: str, *, revision: str | None) -> bool:
    from huggingface_hub import try_to_load_from_cache

    # transformers has no class for this: it replaces the hub's error with its own message.
    if f"does not appear to have a file named {GENERATION_CONFIG_NAME}" in error.what:
        return True
    if is_local(source):
        return False
    # Without a network: a cached model may not have the file at all.
    name, revision = split_revision(source, revision, where="MODEL")
    return isinstance(try_to_load_from_cache(name, CONFIG_NAME, revision=revision), str)


def shared_decoding(sources: Iterable[str]) -> dict[str, Any] | None:
    """Return the settings that all models share; `None` if they differ."""
    first, *others = [read_decoding(source) for source in sources]
    return first if all(other == first for other in others) else None


def _fits(name: str, value: Any) -> bool:
    """Return whether the field of this name accepts a value (`early_stopping: never` fails)."""
    if value is None:
        return False
    try:
        GenerateConfig.model_validate({"num_beams": 1, name: value})
    except ValueError:
        return False
    return True
