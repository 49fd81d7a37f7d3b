"""Start, end and padding tokens of captions, whatever a tokenizer calls them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tokenizers import processors

from captune.errors import ModelError


@dataclass(frozen=True, slots=True)
class SpecialIds:
    """Ids of the tokens that start, end and pad a caption."""

    start: int
    end: int
    pad: int


def special_ids(tokenizer: Any) -> SpecialIds:
    """Return the ids; BERT-like tokenizers have [CLS] and [SEP], GPT-2's has one token for all.

    A tokenizer without a padding token pads with its end token: captune identifies padding by
    `caption_ids`, never by the token.

    Raises:
        ModelError: The tokenizer has no start token or no end token.
    """
    start = _first(tokenizer.cls_token_id, tokenizer.bos_token_id)
    end = _first(tokenizer.sep_token_id, tokenizer.eos_token_id)
    if start is None or end is None:
        raise ModelError(
            f"the tokenizer has no {'start' if start is None else 'end'} token",
            where="model.tokenizer",
            fix="use a tokenizer with cls/bos and sep/eos tokens, or let captune train one",
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(end)
    return SpecialIds(start, end, int(tokenizer.pad_token_id))


def write_around(tokenizer: Any, before: str, *, after: str = "") -> None:
    """Make a tokenizer add special tokens around a text, unless it already adds its own.

    Plain transformers needs them in a prompt: BLIP's `generate` overwrites the first token and
    drops the last one, GIT's uses the prompt unchanged. captune itself encodes without them.

    Args:
        tokenizer: A transformers tokenizer; one without a `tokenizers` backend is not changed.
        before: Special token before the text.
        after: Special token after the text; empty: none.
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
    # GPT-2's own post-processor only adjusts offsets, and is kept.
    own = backend.post_processor
    backend.post_processor = processors.Sequence([own, template]) if own else template


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)
