"""A tokenizer trained on the captions, for models that start from random weights.

Words or byte pairs, both deterministic; the WordPiece trainer of `tokenizers` is not (it breaks
ties in hash order), so two runs with the same seed would differ. Both lower-case the captions.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, trainers
from tokenizers import models as tokenizer_models
from transformers import PreTrainedTokenizerFast

from captune.errors import DataError
from captune.metrics import measure_scripts
from captune.recipe import TokenizerConfig

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]")
_NAMED = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
    "bos_token": "[DEC]",
}

# Metrics score t-shirt, don't and 3.5 as one word each, and split off the possessive; split
# differently, a generated "t - shirt" would never match a reference.
_WORDS = r"\d+(?:[.,]\d+)+|\w+(?:-\w+)*(?:'(?!s\b)\w+)*|'s\b|[^\w\s]"
_STARTS_AFTER_SPACE = r"^(?!(?:[.,!?;:)\]}%]|'s)$)"


def train_tokenizer(captions: Iterable[str], config: TokenizerConfig) -> Any:
    """Train a tokenizer on lower-cased captions that start with `[DEC]` and end with `[SEP]`.

    Words are decoded with the usual spacing (`a dog's ball.`, whatever the caption's spacing); byte
    pairs are decoded with the caption's own spacing.

    Args:
        captions: Training captions; never those of the other splits.
        config: Kind of tokens, vocabulary size and minimum count.

    Raises:
        DataError: There is no caption to train on, or word tokens are requested for a script
            without spaces between words.
    """
    captions = [caption for caption in captions if caption.strip()]
    if not captions:
        raise DataError(
            "no caption to train a tokenizer on",
            where="model.new_tokenizer",
            fix="check the caption column with: captune data check DATA",
        )
    script = measure_scripts(captions).unspaced
    if config.kind == "word" and script:
        raise DataError(
            f"the captions are {script}, written without spaces between words: a word tokenizer"
            " treats each caption as one word, and every new caption as unknown",
            where="model.new_tokenizer.kind",
            fix="use bpe (captune init --tokenizer-kind bpe)",
        )
    tokenizer = _TRAINERS[config.kind](captions, config)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **_NAMED
    )


def _train_words(captions: list[str], config: TokenizerConfig) -> Tokenizer:
    tokenizer = Tokenizer(tokenizer_models.WordLevel(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True)
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace(Regex(_STARTS_AFTER_SPACE), " "),
            decoders.Fuse(),
            decoders.Replace("( ", "("),
            decoders.Strip(" ", 1, 0),
        ]
    )
    trainer = trainers.WordLevelTrainer(
        vocab_size=config.vocab_size,
        min_frequency=config.min_count,
        special_tokens=list(SPECIAL_TOKENS),
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    return tokenizer


def _train_bytes(captions: list[str], config: TokenizerConfig) -> Tokenizer:
    tokenizer = Tokenizer(tokenizer_models.BPE(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        min_frequency=config.min_count,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    return tokenizer


_TRAINERS = {"word": _train_words, "bpe": _train_bytes}
