"""Facts about captions, counted in one pass, equal those counted step by step."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from captune.data import BatchCounter
from captune.data.check.caption_stats import (
    is_placeholder,
    measure_captions,
    measure_lengths,
    normalise_caption,
)
from captune.data.record_store import store_records
from captune.records import CaptionRecord

WORDS = ("A", "a", "dog", "Dog.", "runs,", "n/a", "", "über", "IMG_1.jpg", "犬")


def make_records(count: int) -> list[CaptionRecord]:
    rng = np.random.default_rng(count)
    records = []
    for number in range(count):
        captions = [
            " ".join(rng.choice(WORDS, rng.integers(4)).tolist()) for _ in range(rng.integers(4))
        ]
        records.append(CaptionRecord(str(number), Path(f"{number}.jpg"), tuple(captions)))
    return records


def count_common(records):
    """Return the frequent captions, counting every text of every image."""
    spelled, counts = {}, Counter()
    for record in records:
        own = {normalise_caption(caption): caption for caption in record.captions}
        counts.update(key for key in own if key)
        for key, caption in own.items():
            spelled.setdefault(key, caption)
    shared = [(key, number) for key, number in counts.most_common() if number >= 3]
    return [(spelled[key], number) for key, number in shared[:20]]


def count_placeholders(records):
    counts = Counter()
    for record in records:
        counts.update({text for text in record.captions if text and is_placeholder(text)})
    return sorted(counts.items())


def pairs(found):
    return [(each.caption, each.num_images) for each in found]


def test_counting_in_one_pass_equals_counting_step_by_step():
    for count in (0, 1, 5, 400):
        records = make_records(count)
        facts = measure_captions(store_records(records), count_tokens=len, max_tokens=9)
        captions = [caption for record in records for caption in record.captions]
        assert facts.num_captions == len(captions)
        assert facts.per_image == dict(sorted(Counter(len(r.captions) for r in records).items()))
        assert facts.words == measure_lengths(len(caption.split()) for caption in captions)
        assert facts.characters == measure_lengths(len("".join(c.split())) for c in captions)
        assert facts.tokens == measure_lengths(map(len, captions))
        assert facts.num_cut == sum(len(caption) > 9 for caption in captions)
        words = {word for caption in captions for word in normalise_caption(caption).split()}
        assert facts.vocabulary == len(words)
        assert pairs(facts.common) == count_common(records)
        assert sorted(pairs(facts.placeholders)) == count_placeholders(records)
        assert facts.repeated == tuple(
            r.image_id
            for r in records
            if len({normalise_caption(c) for c in r.captions}) < len(r.captions)
        )
        assert facts.empty == tuple(
            r.image_id for r in records if not r.captions or not all(c.strip() for c in r.captions)
        )


@given(st.text(st.characters(max_codepoint=0x250), max_size=30))
def test_words_are_those_of_the_regular_expression(caption):
    assert normalise_caption(caption) == " ".join(re.findall(r"\w+", caption.casefold()))


def test_every_character_of_ascii_is_a_letter_of_a_word_or_none():
    text = "".join(map(chr, range(128)))
    assert normalise_caption(text) == " ".join(re.findall(r"\w+", text.casefold()))


def test_quantiles_are_those_of_the_sorted_lengths():
    rng = np.random.default_rng(1)
    for count in (1, 2, 19, 20, 21, 200):
        lengths = sorted(rng.integers(1, 30, count).tolist())
        stats = measure_lengths(reversed(lengths))
        assert stats.median == lengths[-(-count // 2) - 1]
        assert stats.p95 == next(
            n for place, n in enumerate(lengths, 1) if place / count >= 0.95 - 1e-12
        )


def test_tokens_counted_in_batches_equal_those_counted_one_by_one():
    records = make_records(2500)
    batched = BatchCounter(lambda captions: [len(caption) + 2 for caption in captions])
    many, one = (
        measure_captions(records, count_tokens=count, max_tokens=8)
        for count in (batched, lambda caption: len(caption) + 2)
    )
    assert many == one
    assert batched("abc") == 5
