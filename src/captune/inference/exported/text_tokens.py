"""Convert between text and token ids like transformers' tokenizers, with `tokenizers` alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from captune.errors import ModelError
from captune.hub import NamedErrors
from captune.inference.exported.folder import EXPORT_AGAIN, TOKENIZER_FILE
from captune.storage import fix_reading

# transformers' clean_up_tokenization, in its order.
_CLEANED = (
    *((f" {mark}", mark) for mark in ".?!,"),
    (" ' ", "'"),
    *((f" {ending}", ending) for ending in ("n't", "'m", "'s", "'ve", "'re")),
)


class TextTokens:
    """The tokenizer of an exported folder.

    Args:
        folder: Folder with tokenizer.json.
        cleans_up: Whether spaces before punctuation are removed from decoded text.
        vocabulary: Number of tokens of the model.

    Raises:
        ModelError: The file is damaged, or has tokens that the model does not have.
    """

    def __init__(self, folder: Path, *, cleans_up: bool, vocabulary: int) -> None:
        path = folder / TOKENIZER_FILE
        self._tokenizer = _read(path)
        num_tokens = self._tokenizer.get_vocab_size(with_added_tokens=True)
        if num_tokens > vocabulary:
            raise ModelError(
                f"the tokenizer has {num_tokens:,} tokens, the model only {vocabulary:,}",
                where=str(path),
                fix=EXPORT_AGAIN,
            )
        self._cleans_up = cleans_up

    def encode(self, text: str) -> tuple[int, ...]:
        """Return the token ids of a text, without special tokens around it."""
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids if text else ()
        return tuple(ids)

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of generated tokens, without special tokens."""
        text: str = self._tokenizer.decode(list(token_ids), skip_special_tokens=True)
        if self._cleans_up:
            for before, after in _CLEANED:
                text = text.replace(before, after)
        return text.strip()


def _read(path: Path) -> Any:
    from tokenizers import Tokenizer

    try:
        with NamedErrors():
            tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"the tokenizer cannot be read: {error}",
            where=str(path),
            fix=fix_reading(error, damaged=EXPORT_AGAIN),
        ) from error
    # A saved tokenizer may truncate or pad; transformers turns both off for a single text.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
