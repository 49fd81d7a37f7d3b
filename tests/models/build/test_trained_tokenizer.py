"""Tokenizers trained on captions are the same in every process and decode to readable text."""

from __future__ import annotations

import csv
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from captune.errors import DataError
from captune.metrics.ptb.tokenize import tokenize
from captune.models import train_tokenizer
from captune.models.build.tokenizer import SPECIAL_TOKENS
from captune.recipe import TokenizerConfig

CAPTIONS = (
    "A dog's ball, on the grass .",
    "The t-shirt isn't blue ; it's 3.5 metres long !",
    "two dogs ( one brown ) run",
)
KINDS = ("word", "bpe")


def trained(kind: Any, captions: Any = CAPTIONS, **settings: Any) -> Any:
    settings = {"min_count": 1, "vocab_size": 600, **settings}
    return train_tokenizer(captions, TokenizerConfig(kind=kind, **settings))


def round_trip(tokenizer: Any, caption: str) -> str:
    ids = tokenizer(caption, add_special_tokens=False).input_ids
    return tokenizer.decode(ids, skip_special_tokens=True).strip()


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("A dog's ball, on the grass .", "a dog's ball, on the grass."),
        ("a dog 's ball , on the grass.", "a dog's ball, on the grass."),
        ("isn't it 3.5 metres !", "isn't it 3.5 metres!"),
        ("the t-shirt ; blue", "the t-shirt; blue"),
        ("two ( brown ) dogs", "two (brown) dogs"),
    ],
)
def test_words_are_decoded_with_the_usual_spacing(caption: str, words: str) -> None:
    assert round_trip(trained("word"), caption) == words


@pytest.mark.parametrize(
    "caption", [*CAPTIONS, "unseen words: zebra, 7, café, 犬, 🐕", "  two   dogs"]
)
def test_byte_pairs_decode_to_the_lower_cased_caption(caption: str) -> None:
    assert round_trip(trained("bpe"), caption) == caption.lower().strip()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("caption", CAPTIONS)
def test_metrics_see_the_same_words_before_and_after(kind: str, caption: str) -> None:
    assert tokenize([round_trip(trained(kind), caption)]) == tokenize([caption])


def test_words_outside_the_training_captions_are_unknown() -> None:
    tokenizer = trained("word")
    ids = tokenizer("a zebra", add_special_tokens=False).input_ids
    assert ids == [tokenizer.convert_tokens_to_ids("a"), tokenizer.unk_token_id]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "a"


def test_words_below_the_minimum_count_are_unknown() -> None:
    tokenizer = trained("word", ["a dog", "a cat", "a dog"], min_count=2)
    assert set(tokenizer.get_vocab()) == {*SPECIAL_TOKENS, "a", "dog"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_vocabulary_does_not_exceed_its_size(kind: str) -> None:
    captions = [f"word{i} other{i}" for i in range(1000)]
    assert len(trained(kind, captions, vocab_size=500)) == 500


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_have_fixed_ids(kind: str) -> None:
    tokenizer = trained(kind)
    assert tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == [0, 1, 2, 3, 4, 5]
    assert (tokenizer.pad_token_id, tokenizer.unk_token_id) == (0, 1)
    assert (tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.bos_token_id) == (2, 3, 5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_tokenizer_is_the_same_tokenizer(kind: str, tmp_path: Path) -> None:
    tokenizer = trained(kind)
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again.get_vocab() == tokenizer.get_vocab()
    for caption in CAPTIONS:
        ids = tokenizer(caption, add_special_tokens=False).input_ids
        assert again(caption, add_special_tokens=False).input_ids == ids
        assert again.decode(ids) == tokenizer.decode(ids)


@pytest.mark.slow
def test_every_process_trains_the_same_tokenizer() -> None:
    # Words with equal counts, so that ties must be broken.
    script = (
        "import hashlib\n"
        "from captune.models import train_tokenizer\n"
        "from captune.recipe import TokenizerConfig\n"
        "words = [f'w{i % 97}x{i % 31} y{i % 53}' for i in range(900)]\n"
        "for kind in ('word', 'bpe'):\n"
        "    config = TokenizerConfig(kind=kind, min_count=1, vocab_size=400)\n"
        "    trained = train_tokenizer(words, config).backend_tokenizer.to_str()\n"
        "    print(hashlib.sha256(trained.encode()).hexdigest())\n"
    )
    here: dict[str, str] = {}
    words = [f"w{i % 97}x{i % 31} y{i % 53}" for i in range(900)]
    for kind in KINDS:
        text = trained(kind, words, vocab_size=400).backend_tokenizer.to_str()
        here[kind] = hashlib.sha256(text.encode()).hexdigest()
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "123", "RAYON_NUM_THREADS": "3"},
    )
    assert done.stdout.split() == list(here.values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("captions", [[], ["", "  "]])
def test_no_captions_are_refused(kind: str, captions: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        trained(kind, captions)
    assert caught.value.what == "no caption to train a tokenizer on"
    assert caught.value.where == "model.new_tokenizer"
    assert caught.value.fix == "check the caption column with: captune data check DATA"


@pytest.mark.real_data
def test_metrics_read_decoded_real_captions_like_the_originals(real_data: Path) -> None:
    with (real_data / "flickr8k/captions.txt").open(encoding="utf-8", newline="") as file:
        captions = [row[1] for row in csv.reader(file)][1:5001]
    tokenizer = trained("word", captions, vocab_size=20_000)
    back = [round_trip(tokenizer, caption) for caption in captions]
    differ = [
        (caption, text)
        for caption, text, a, b in zip(
            captions, back, tokenize(captions), tokenize(back), strict=True
        )
        if a != b
    ]
    # Only abbreviations with inner dots (S.C.U.B.A., D.C.) and 'n' differ.
    assert len(differ) <= 5, differ
