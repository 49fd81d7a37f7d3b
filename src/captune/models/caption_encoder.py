"""Captions to token ids the way generation writes them; holds no model, so workers can have it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from captune.data import ReadBack
from captune.models.build.special_ids import special_ids

_READ_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class EncodedCaption:
    """Token ids of a caption, start and end included, and whether it had to be cut."""

    token_ids: tuple[int, ...]
    was_cut: bool


@dataclass(frozen=True, slots=True)
class CaptionEncoder:
    """What one captioner needs to write a caption in tokens.

    Attributes:
        tokenizer: A transformers tokenizer.
        prefix_ids: Tokens that every caption starts with, the start token first; they take no
            loss.
        eos_token_id: Token that ends a caption.
        pad_token_id: Token that fills rows.
        max_positions: Longest caption in tokens, start and end included.
    """

    tokenizer: Any
    prefix_ids: tuple[int, ...]
    eos_token_id: int
    pad_token_id: int
    max_positions: int

    def encode(self, caption: str, max_tokens: int) -> EncodedCaption:
        """Return prefix, caption and end token.

        Args:
            caption: Text without special tokens.
            max_tokens: Maximum length, prefix and end token included; these are never cut off.
        """
        ends = {self.prefix_ids[0], self.eos_token_id, self.pad_token_id}
        # A caption that spells out "[SEP]" must not end there; unknown words stay in it.
        dropped = ends | set(self.tokenizer.all_special_ids) - {self.tokenizer.unk_token_id}
        all_ids = self.tokenizer(caption, add_special_tokens=False).input_ids
        token_ids = [token for token in all_ids if token not in dropped]
        room = max(0, min(max_tokens, self.max_positions) - len(self.prefix_ids) - 1)
        kept = token_ids[:room]
        ids = (*self.prefix_ids, *kept, self.eos_token_id)
        return EncodedCaption(ids, was_cut=len(token_ids) > room)


def caption_reader(
    tokenizer: Any, *, lower_case: bool
) -> Callable[[Sequence[str]], list[ReadBack]]:
    """Return a function that encodes captions and decodes them again, to see what is lost.

    Args:
        tokenizer: A transformers tokenizer.
        lower_case: Whether captions are lower-cased first.
    """
    as_trained = str.lower if lower_case else str
    unknown = tokenizer.unk_token_id

    def read_back(captions: Sequence[str]) -> list[ReadBack]:
        found: list[ReadBack] = []
        for start in range(0, len(captions), _READ_AT_ONCE):
            texts = [as_trained(caption) for caption in captions[start : start + _READ_AT_ONCE]]
            ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
            decoded = tokenizer.batch_decode(ids, skip_special_tokens=True)
            counts = [0 if unknown is None else own.count(unknown) for own in ids]
            found += map(ReadBack, decoded, counts)
        return found

    return read_back


def token_counter(tokenizer: Any, *, lower_case: bool) -> Callable[[str], int]:
    """Counts the tokens of a caption in training before any cut, start and end included.

    Args:
        tokenizer: A transformers tokenizer.
        lower_case: Whether captions are lower-cased first.

    Raises:
        ModelError: The tokenizer has no token to start or to end a caption with.
    """
    ids = special_ids(tokenizer)
    encoder = CaptionEncoder(tokenizer, (ids.start,), ids.end, ids.pad, max_positions=sys.maxsize)
    as_trained = str.lower if lower_case else str
    return lambda caption: len(encoder.encode(as_trained(caption), sys.maxsize).token_ids)
