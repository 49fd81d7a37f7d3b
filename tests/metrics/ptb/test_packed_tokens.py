"""Captions straight to word ids, against tokenizing and then packing them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from captune.metrics.packed import Vocabulary, pack_tokens, unpack_captions
from captune.metrics.ptb.packed_tokens import tokenize_packed
from captune.metrics.ptb.tokenize import tokenize
from support.places import REAL_DATA

DATA = REAL_DATA / "metrics"


def check_equal(captions: list[str]) -> None:
    slow, fast = Vocabulary(), Vocabulary()
    expected = pack_tokens(tokenize(captions), slow)
    found = tokenize_packed(captions, fast)
    # The order of the words too: sums run in it, to the last digit.
    assert list(slow) == list(fast)
    assert found.words.tolist() == expected.words.tolist()
    assert found.lengths.tolist() == expected.lengths.tolist()
    assert found.words.dtype == np.int32
    assert unpack_captions(found, fast) == tokenize(captions)


PIECES = ["a", "The", "dog", "U.S.", "etc.", "5", "1/2", ".", "..", "", "555", "1212", "<b", "c>"]
PIECES += [
    "(555)",
    "'98",
    "no.",
    "It",
    "\u00a0",
    "x\ny",
    "Mr.",
    "\U0001f600",
    "3)",
    "1.",
    ".5",
    "-",
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=6).map(" ".join), max_size=6))
@example([])
@example([""])
@example(["", "", "a"])
@example(["5", "5 men"])
@example([". . .", ". a", "a ."])
def test_spaces_numbers_and_dots_are_read_as_in_their_captions(captions: list[str]) -> None:
    check_equal(captions)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=30), max_size=5))
def test_any_text_is_split_the_same_way(captions: list[str]) -> None:
    check_equal(captions)


def test_splitting_into_blocks_does_not_change_the_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    captions = [f"a {word} has 5 cats near no. {place}" for place, word in enumerate(PIECES * 3)]
    monkeypatch.setattr("captune.metrics.ptb.packed_tokens.BLOCK_CAPTIONS", 4)
    monkeypatch.setattr("captune.metrics.ptb.packed_tokens.BLOCK_CHUNKS", 7)
    check_equal(captions)


@pytest.mark.parametrize("bits", [1, 3, 15])
def test_chunks_that_hash_to_one_slot_are_distinguished(
    monkeypatch: pytest.MonkeyPatch, bits: int
) -> None:
    monkeypatch.setattr("captune.metrics.ptb.chunk_slots.SLOT_BITS", bits)
    monkeypatch.setattr("captune.metrics.ptb.packed_tokens.BLOCK_CAPTIONS", 2)
    check_equal([" ".join(f"w{place}" for place in range(50)), "w1 w2 w1 w49"] * 3)


def test_chunks_that_differ_only_at_their_ends_are_distinguished() -> None:
    # 8 and 16 letters fill machine words; NUL is what stands after a chunk's end there.
    eight = "abcdefgh"
    chunks = [eight, eight + "i", eight[:-1], eight * 2, eight * 2 + "i", eight * 2 + "j"]
    chunks += [
        eight + "\0",
        eight + "\0\0",
        eight[:-1] + "\0",
        "\0",
        "",
        "\ud800",
        "caf\u00e9",
        "cafe",
        "\0" * 255,
    ]
    check_equal([" ".join(chunks), " ".join(reversed(chunks)), *chunks, " ".join(chunks)])


def test_words_known_before_keep_their_ids() -> None:
    vocabulary = Vocabulary({"dog": 0, "a": 1})
    assert tokenize_packed(["A red dog."], vocabulary).words.tolist() == [1, 2, 0]
    assert list(vocabulary) == ["dog", "a", "red"]


@pytest.mark.real_data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no reference values at {DATA}")
def test_captions_of_coco_are_split_the_same_way() -> None:
    references = json.loads((DATA / "val5k_references.json").read_text(encoding="utf-8"))
    check_equal([caption for own in references.values() for caption in own])
