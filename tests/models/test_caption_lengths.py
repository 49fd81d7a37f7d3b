"""The token count of a caption equals the number of tokens that training uses for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken
from transformers import AutoTokenizer

from captune.models import token_counter
from captune.models.caption_encoder import token_ids
from support.models.tiny_models import CAPTIONS, ONE_OF_EACH, build

SPELT = "a dog [SEP] and [DEC] a [PAD] cat"


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_the_token_count_of_a_caption_includes_its_special_tokens(name: str) -> None:
    captioner = build(name)
    count = token_counter(captioner.tokenizer, lower_case=False)
    for caption in (*CAPTIONS, SPELT, ""):
        assert count(caption) == len(captioner.encode_caption(caption, 1000).token_ids)
    # Start token, a, dog, and, a, cat, end token.
    assert count("a dog and a cat") == 7


def test_tokens_are_counted_in_the_case_used_for_training() -> None:
    tokenizer = build("vit-gpt2-tiny").tokenizer
    tokenizer.add_tokens([AddedToken("RED dog", normalized=False)])
    assert token_counter(tokenizer, lower_case=False)("a RED dog") == 4
    assert token_counter(tokenizer, lower_case=True)("a RED dog") == 5


def test_tokens_do_not_depend_on_the_way_to_the_tokenizer(tmp_path: Path) -> None:
    """They equal transformers' tokens, whatever padding and truncation settings were saved."""
    tokenizer = build("vit-gpt2-tiny").tokenizer
    captions = [*CAPTIONS, SPELT, "", "an unknown \U0001f600 word  and\tblanks", CAPTIONS[0]]
    expected = [tokenizer(each, add_special_tokens=False).input_ids for each in captions]
    tokenizer(captions, padding="max_length", truncation=True, max_length=3)
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)

    class Reversed(type(again)):  # type: ignore[misc]
        def __call__(self, *args: Any, **options: Any) -> Any:
            found = super().__call__(*args, **options)
            return {"input_ids": found.input_ids[::-1]}

    assert token_ids(tokenizer, captions) == expected
    assert token_ids(again, captions) == expected
    # A subclass has the last word.
    again.__class__ = Reversed
    assert token_ids(again, captions) == expected[::-1]
