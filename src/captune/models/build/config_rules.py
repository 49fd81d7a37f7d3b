"""Allowed values of a model's config.json and generation_config.json, checked before it is built.

transformers builds whatever the files specify: a million layers, heads of width zero, a start
token outside the vocabulary. Such a model hangs, runs out of memory, or fails deep inside torch.
The rules match the key names that transformers' configs share, at any depth of the file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from captune.errors import ModelError

_MAX_LAYERS = 512
_MAX_COUNT = 100_000
_MAX_WIDTH = 65_536
_MAX_VOCABULARY = 10_000_000


@dataclass(frozen=True, slots=True)
class Rule:
    """The allowed values of the keys that a regular expression matches.

    Attributes:
        keys: Regular expression for the whole key.
        allowed: Description of the allowed values, for errors.
        accepts: Whether one value is allowed; `null` (the default) always is.
        or_list: Whether a list of such values is also allowed.
    """

    keys: str
    allowed: str
    accepts: Callable[[Any], bool]
    or_list: bool = False

    def allows(self, value: Any) -> bool:
        """Return whether the value, or every item of a list, is allowed."""
        if self.or_list and isinstance(value, list):
            return bool(value) and all(self.accepts(one) for one in value)
        return value is None or self.accepts(value)


def integers(keys: str, *, low: int, high: int, or_list: bool = False) -> Rule:
    """Require integers from `low` to `high`."""
    words = f"an integer from {low:,} to {high:,}{', or a list of them' if or_list else ''}"
    return Rule(keys, words, lambda value: _is_integer(value) and low <= value <= high, or_list)


def numbers(keys: str, *, low: float, high: float, or_list: bool = False) -> Rule:
    """Require finite numbers from `low` to `high`."""
    words = f"a number from {low:g} to {high:g}{', or a list of them' if or_list else ''}"
    return Rule(keys, words, lambda value: _is_number(value) and low <= value <= high, or_list)


def counts(keys: str, *, most: int) -> Rule:
    """Refuse integers above `most`, also inside a list; values of other types are not counts."""

    def is_small(value: Any) -> bool:
        if isinstance(value, list):
            return len(value) <= most and all(is_small(one) for one in value)
        return not _is_integer(value) or value <= most

    return Rule(keys, f"an integer up to {most:,}", is_small)


def booleans(keys: str) -> Rule:
    """Require `true` or `false`."""
    return Rule(keys, "true or false", lambda value: isinstance(value, bool))


def _are_depths(value: Any) -> bool:
    """Return whether a value is the number of layers of each stage."""
    stages = value if isinstance(value, list) else [value]
    is_each = all(_is_integer(one) and one >= 1 for one in stages)
    return bool(stages) and is_each and sum(stages) <= _MAX_LAYERS


_ARCHITECTURE = (
    integers(r"num_hidden_layers|n_layers?", low=1, high=_MAX_LAYERS),
    integers(r"num_layers", low=0, high=_MAX_LAYERS),
    Rule("depths", f"integers from 1 with a sum of at most {_MAX_LAYERS}", _are_depths),
    integers(r"num_attention_heads|n_heads?|num_heads", low=1, high=1_024, or_list=True),
    integers(
        r"hidden_sizes?|n_embd|n_inner|d_model|intermediate_size|projection_dim|embed_dim"
        r"|encoder_hidden_size|image_text_hidden_size|embedding_size|backbone_width",
        low=1,
        high=_MAX_WIDTH,
        or_list=True,
    ),
    integers(r"image_size|patch_size|window_size|grid_size", low=1, high=16_384, or_list=True),
    Rule("num_channels", "3 (images are read as RGB)", lambda value: value == 3),
    integers(r"max_position_embeddings|n_positions", low=2, high=1_000_000),
    integers(r"vocab_size", low=1, high=_MAX_VOCABULARY),
    numbers(r"\w*dropout|\w*dropout_prob|\w*_pdrop|drop_path_rate", low=0, high=1),
    numbers(r"\w+_eps", low=0, high=1),
    numbers(r"initializer_range|initializer_factor", low=0, high=1_000),
    numbers(r"(depth|width)_(multiplier|coefficient)|mlp_ratio", low=0.001, high=64),
    # Names of single families. transformers makes as many modules, one after the other: for
    # GIT's num_image_with_embedding = 10**9, hours and all memory.
    counts(r"\w+_layers|\w+_(group_num|repeats)", most=_MAX_LAYERS),
    counts(r"num_\w+|n_\w+|\w+_num", most=_MAX_COUNT),
)
_TOKEN_IDS = r"\w+_token_ids?|(begin_)?suppress_tokens"
# Parts of a config without tokens: old files hold leftovers of the base class there.
_VISION = ("vision_config", "encoder", "backbone")
_WIDTHS, _HEADS = ("hidden_size", "n_embd"), ("num_attention_heads", "n_head", "num_heads")

_DECODING = (
    integers(r"num_beams", low=1, high=10_000),
    integers(r"(max|min)(_new_tokens|_length)", low=0, high=10_000_000),
    integers(
        r"no_repeat_ngram_size|top_k|encoder_no_repeat_ngram_size", low=0, high=_MAX_VOCABULARY
    ),
    numbers(r"repetition_penalty|temperature", low=0, high=1e6),
    numbers(r"length_penalty", low=-1e6, high=1e6),
    numbers(r"top_p", low=0, high=1),
    booleans(r"do_sample"),
    Rule("early_stopping", 'true, false or "never"', lambda v: isinstance(v, bool) or v == "never"),
)


def check_config(config: Any, file: str, *, where: str) -> None:
    """Check sizes, rates and counts in a config.json, including the encoder's and decoder's.

    Args:
        config: The file's JSON.
        file: Its path or hub address, for errors.
        where: Recipe key or argument, for errors.

    Raises:
        ModelError: A value is not allowed; the message names its key and the range.
    """
    check_values(config, _ARCHITECTURE, file=file, where=where)
    for path, level in _levels(config, ""):
        width = next((level[key] for key in _WIDTHS if _is_integer(level.get(key))), None)
        heads = next((key for key in _HEADS if _is_integer(level.get(key))), None)
        if width is not None and heads is not None and width % level[heads]:
            raise ModelError(
                f"{file}: {path}{heads} is {level[heads]}, which does not divide the width {width}",
                where=where,
                fix=f"allowed: a divisor of {width}",
            )


def check_token_ids(config: Any, vocab_size: int, *, file: str, where: str) -> None:
    """Check that every special id in config.json or generation_config.json is in the vocabulary.

    Args:
        config: The file's JSON.
        vocab_size: Number of tokens in the model's vocabulary.
        file: The file's path or hub address, for errors.
        where: Recipe key or argument, for errors.

    Raises:
        ModelError: An id is not an integer, or is outside the vocabulary.
    """
    rule = integers(_TOKEN_IDS, low=0, high=vocab_size - 1, or_list=True)
    text_side = {key: value for key, value in config.items() if key not in _VISION}
    check_values(text_side, (rule,), file=file, where=where)


def check_decoding(settings: Any, file: str, *, where: str) -> None:
    """Check the decoding settings of a generation_config.json.

    Raises:
        ModelError: A value is not allowed.
    """
    check_values(settings, _DECODING, file=file, where=where)


def check_values(content: Any, rules: Sequence[Rule], *, file: str, where: str) -> None:
    """Check each value whose key matches a rule, at any depth.

    Raises:
        ModelError: The content is not a JSON object, or a value is not allowed.
    """
    if not isinstance(content, dict):
        raise ModelError(
            f"{file} holds a {type(content).__name__}, not a JSON object",
            where=where,
            fix="copy the model's file again",
        )
    for path, level in _levels(content, ""):
        for key, value in level.items():
            rule = next((rule for rule in rules if re.fullmatch(rule.keys, str(key))), None)
            if rule is not None and not rule.allows(value):
                raise ModelError(
                    f"{file}: {path}{key} is {_shown(value)}",
                    where=where,
                    fix=f"allowed: {rule.allowed}",
                )


def _levels(content: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each JSON object in the content with its path, such as `vision_config.`."""
    yield path, content
    for key, value in content.items():
        # These dictionaries map names and numbers; they are not settings.
        if isinstance(value, dict) and key not in ("id2label", "label2id", "task_specific_params"):
            yield from _levels(value, f"{path}{key}.")


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return _is_integer(value)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
