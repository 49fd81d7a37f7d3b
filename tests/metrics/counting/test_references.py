"""References: accepted input, saved files, and errors for bad input."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captune.errors import MetricError, OutputError
from captune.metrics import References, compute
from captune.metrics.counting.packed_texts import cut_at_blanks
from captune.metrics.packed import Vocabulary, pack_tokens

CAPTIONS = {"1": ["A red dog runs.", "a dog"], "2": ["two cats sit on 1 1/2 mats", ""]}
PREDICTIONS = {"1": "a dog runs", "2": "a cat on 1 1/2 mats"}
METRICS = ["bleu", "rouge_l", "cider", "sacrebleu", "wer"]


def test_saved_references_score_the_same(tmp_path: Path) -> None:
    fresh = References(CAPTIONS)
    loaded = References.load(fresh.save(tmp_path))
    assert loaded.tokens == fresh.tokens
    assert loaded.captions == fresh.captions
    one = compute(fresh, PREDICTIONS, metrics=METRICS)
    other = compute(loaded, PREDICTIONS, metrics=METRICS)
    assert one.corpus == other.corpus
    assert one.signatures == other.signatures


def test_the_file_is_named_by_content_and_order(tmp_path: Path) -> None:
    path = References(CAPTIONS).save(tmp_path)
    again = References({key: list(value) for key, value in CAPTIONS.items()}).save(tmp_path)
    turned = References(dict(reversed(CAPTIONS.items()))).save(tmp_path)
    assert again == path
    assert turned != path
    assert sorted(tmp_path.iterdir()) == sorted([path, turned])


def test_cached_references_are_read_not_counted_again(tmp_path: Path) -> None:
    path = References(CAPTIONS).save(tmp_path)
    other = References({"1": ["a zebra"], "2": ["one zebra"]}).save(tmp_path)
    # A file with other content under this name shows that the file is read.
    other.replace(path)
    assert References.cached(CAPTIONS, tmp_path).captions == (("a zebra",), ("one zebra",))


def test_a_damaged_cache_is_rebuilt(tmp_path: Path) -> None:
    path = References(CAPTIONS).save(tmp_path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(MetricError, match="does not contain counted references"):
        References.load(path)
    assert References.cached(CAPTIONS, tmp_path).tokens == References(CAPTIONS).tokens
    assert References.load(path).tokens == References(CAPTIONS).tokens


def test_a_folder_that_cannot_be_created_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        References(CAPTIONS).save(tmp_path / "file" / "folder")


def test_references_can_be_pickled() -> None:
    fresh = References(CAPTIONS)
    names = ["bleu", "rouge_l", "cider"]
    expected = compute(fresh, PREDICTIONS, metrics=names).corpus
    copied = pickle.loads(pickle.dumps(fresh))
    assert compute(copied, PREDICTIONS, metrics=names).corpus == expected


def test_odd_text_survives_saving(tmp_path: Path) -> None:
    captions = {"\x00": ["nul \x00 inside", "lone \ud800 surrogate", "\u05d0\u05d1 right to left"]}
    references = References(captions)
    assert References.load(references.save(tmp_path)).captions == references.captions


def test_a_token_with_a_space_inside_is_one_word_for_rouge_and_two_for_bleu() -> None:
    references = References({"1": ["1 1/2 mats"]})
    assert references.tokens == [["1\u00a01/2", "mats"]]
    assert references.tokens_packed.lengths.tolist() == [2]
    assert references.words.lengths.tolist() == [3]


def test_splitting_tokens_at_odd_spaces_equals_splitting_the_joined_captions() -> None:
    tokens = [["a", "1\u00a01/2"], [], ["\u00a0"], ["b\u2003c\u00a0d", "a", "1\u00a01/2"], ["b"]]
    vocabulary = Vocabulary()
    by_token = pack_tokens(tokens, vocabulary)
    by_word = cut_at_blanks(by_token, vocabulary)
    names = list(vocabulary)
    for packed, expected in (
        (by_token, tokens),
        (by_word, [" ".join(caption).split() for caption in tokens]),
    ):
        stops = np.cumsum(packed.lengths)
        spelled = [names[word] for word in packed.words]
        starts = stops - packed.lengths
        found = [spelled[a:b] for a, b in zip(starts, stops, strict=True)]
        assert found == expected


@pytest.mark.parametrize(
    ("captions", "message"),
    [
        ({}, "there are no references"),
        ({"5": []}, "image 5 has no reference caption"),
        ({"5": "a dog"}, "the references of image 5 are 'a dog', not a list"),
        ({"5": None}, "the references of image 5 are None, not a list"),
        ({"5": ["a dog", None]}, r"the reference of image 5 is None \(NoneType\), not text"),
        ({"5": [float("nan")]}, r"the reference of image 5 is nan \(float\), not text"),
        ({"5": [b"a dog"]}, "the reference of image 5 is b'a dog'"),
        ({5: ["a dog"], "5": ["a cat"]}, "image id 5 is in the references twice"),
        ({5.0: ["a dog"]}, "an image id is 5.0, neither text nor a whole number"),
        ({True: ["a dog"]}, "an image id is True, neither"),
        ({None: ["a dog"]}, "an image id is None, neither"),
    ],
)
def test_bad_references_are_named(captions: Any, message: str) -> None:
    with pytest.raises(MetricError, match=message):
        References(captions)


def test_numbers_and_text_are_equal_ids() -> None:
    references: Any = {5: ["a dog"], 6: ["a cat"]}
    results = compute(references, {"5": "a dog", "6": "a cat"}, metrics=["bleu_1"])
    assert results.image_ids == ("5", "6")
