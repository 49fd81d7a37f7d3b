"""The token count of a caption equals the number of tokens that training uses for it."""

from __future__ import annotations

import pytest
from tokenizers import AddedToken

from captune.models import token_counter
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
