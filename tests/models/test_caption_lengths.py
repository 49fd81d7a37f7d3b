"""What a caption costs in tokens is what training pays for it."""

from __future__ import annotations

import pytest
from tokenizers import AddedToken

from captune.models import token_counter
from support.models.tiny_models import CAPTIONS, ONE_OF_EACH, build

SPELT = "a dog [SEP] and [DEC] a [PAD] cat"


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_a_caption_is_counted_as_its_captioner_writes_it(name: str) -> None:
    captioner = build(name)
    count = token_counter(captioner.tokenizer, lower_case=False)
    for caption in (*CAPTIONS, SPELT, ""):
        assert count(caption) == len(captioner.encode_caption(caption, 1000).token_ids)
    # Start token, a, dog, and, a, cat, end token.
    assert count("a dog and a cat") == 7


def test_captions_are_counted_in_the_case_they_are_trained_in() -> None:
    tokenizer = build("vit-gpt2-tiny").tokenizer
    tokenizer.add_tokens([AddedToken("RED dog", normalized=False)])
    assert token_counter(tokenizer, lower_case=False)("a RED dog") == 4
    assert token_counter(tokenizer, lower_case=True)("a RED dog") == 5
