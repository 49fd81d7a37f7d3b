"""Start, end and padding of captions, whatever a tokenizer calls them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tokenizers import processors

from captune.errors import ModelError


@dataclass(frozen=True, slots=True)
class SpecialIds:
    """Token ids: what a caption starts with, ends with, and is padded with."""

    start: int
    end: int
    pad: int


def special_ids(tokenizer: Any) -> SpecialIds:
    """Return the ids; BERT-like tokenizers have [CLS] and [SEP], GPT-2's one token for all.

    A tokenizer without a padding token gets its end token as one: captune decides what is padding
    by `caption_ids`, never by the token.

    Raises:
        ModelError: There is no token to start or to end with.
    """
    start = _first(tokenizer.cls_token_id, tokenizer.bos_token_id)
    end = _first(tokenizer.sep_token_id, tokenizer.eos_token_id)
    if start is None or end is None:
        raise ModelError(
            f"the tokenizer has no {'start' if start is None else 'end'} token",
            where="model.tokenizer",
            fix="give a tokenizer with cls/bos and sep/eos tokens, or let captune train one",
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(end)
    return SpecialIds(start, end, int(tokenizer.pad_token_id))


def write_around(tokenizer: Any, before: str, *, after: str = "") -> None:
    """Make a tokenizer write special tokens around a text, where it writes none of its own.

    Plain transformers needs them in a prompt: BLIP's `generate` overwrites the first token and
    drops the last one, GIT's starts with the prompt as it is. captune adds none that way.

    Args:
        tokenizer: A transformers tokenizer; one without a backend of `tokenizers` stays as it is.
        before: Special token before the text.
        after: Special token after it; empty: none.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or tokenizer("a").input_ids != tokenizer.encode(
        "a", add_special_tokens=False
    ):
        return
    names = [token for token in (before, after) if token]
    template = processors.TemplateProcessing(
        single=[before, "$A", *names[1:]],
        special_tokens=[(token, tokenizer.convert_tokens_to_ids(token)) for token in names],
    )
    # GPT-2's own only moves offsets, and stays.
    own = backend.post_processor
    backend.post_processor = processors.Sequence([own, template]) if own else template


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)
