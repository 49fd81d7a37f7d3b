"""Tokenizers, which split captions into the words that metrics count, in one table.

pycocoevalcap's tokenizer is behind every published COCO figure, but treats a Chinese caption as one
word. The others are sacreBLEU's (Post 2018, "A call for clarity in reporting BLEU scores"), applied
to lower-cased captions; the punctuation that pycocoevalcap removes is removed here too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import cast, get_args

from captune.errors import MetricError, MissingExtraError
from captune.metrics.collecting import without_collecting
from captune.metrics.packed import PackedCaptions, Vocabulary, pack_tokens
from captune.metrics.ptb.packed_tokens import tokenize_packed
from captune.metrics.ptb.tokenize import tokenize
from captune.records import TokenizerName
from captune.suggest import did_you_mean

DEFAULT_TOKENIZER: TokenizerName = "pycocoevalcap"
TOKENIZERS: tuple[TokenizerName, ...] = get_args(TokenizerName)

_PUNCTUATION = frozenset(
    [*".?!,:;-'\"`…—–―“”‘’«»", *"〈〉《》「」『』【】〔〕〖〗〘〙〚〛་།", "--", "...", "``", "''"]
)
"""Words that pycocoevalcap's tokenizer drops; it keeps full-width marks, and so does captune."""

Cut = Callable[[str], str]


def require_tokenizer(name: str) -> TokenizerName:
    """Return a tokenizer's name after a check that it exists and that its packages are installed.

    Raises:
        MetricError: The tokenizer is unknown.
        MissingExtraError: It needs an extra that is not installed.
    """
    if name not in TOKENIZERS:
        raise MetricError(
            f"unknown tokenizer {name!r}{did_you_mean(name, TOKENIZERS)}",
            where="tokenize",
            fix=f"use one of {', '.join(TOKENIZERS)}",
        )
    chosen = next(known for known in TOKENIZERS if known == name)
    if chosen == "ja-mecab":
        _open_cutter(chosen)
    return chosen


def tokenize_with(captions: Sequence[str], tokenizer: TokenizerName) -> list[list[str]]:
    """Split captions into words.

    Args:
        captions: One batch, in order; pycocoevalcap's tokenizer looks at the next caption.
        tokenizer: Name of the tokenizer.

    Returns:
        One list of lower-case words per caption, without punctuation.
    """
    if tokenizer == DEFAULT_TOKENIZER:
        return tokenize(captions)
    cut = _open_cutter(tokenizer)
    with without_collecting():
        return [
            [word for word in cut(caption.lower()).split() if word not in _PUNCTUATION]
            for caption in captions
        ]


def pack_with(
    captions: Sequence[str], vocabulary: Vocabulary, *, tokenizer: TokenizerName
) -> PackedCaptions:
    """Split captions into word ids; add new words to `vocabulary` in order of appearance."""
    if tokenizer == DEFAULT_TOKENIZER:
        return tokenize_packed(captions, vocabulary)
    return pack_tokens(tokenize_with(captions, tokenizer), vocabulary)


def sign_tokenizer(tokenizer: TokenizerName) -> str:
    """Return a tokenizer's name in signatures, such as `ptb-3.4.1` or `zh-sacrebleu-2.6.0`."""
    if tokenizer == DEFAULT_TOKENIZER:
        return "ptb-3.4.1"
    if tokenizer == "char":
        return "char"
    return f"{tokenizer}-sacrebleu-{version('sacrebleu')}"


@cache
def _open_cutter(tokenizer: TokenizerName) -> Cut:
    """Return a function that puts spaces between the words of a lower-cased caption."""
    return _CUTTERS[tokenizer]()


def _open_char() -> Cut:
    return " ".join


def _open_zh() -> Cut:
    from sacrebleu.tokenizers.tokenizer_zh import TokenizerZh

    return cast(Cut, TokenizerZh())


def _open_ja_mecab() -> Cut:
    from sacrebleu.tokenizers.tokenizer_ja_mecab import TokenizerJaMecab

    try:
        return cast(Cut, TokenizerJaMecab())
    except RuntimeError as error:
        raise MissingExtraError(
            "the tokenizer ja-mecab needs MeCab and its dictionary, which are not installed",
            where="tokenize",
            fix="pip install 'captune[ja]', or use char",
        ) from error


_CUTTERS: Mapping[TokenizerName, Callable[[], Cut]] = {
    "char": _open_char,
    "zh": _open_zh,
    "ja-mecab": _open_ja_mecab,
}
