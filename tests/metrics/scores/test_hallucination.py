"""CHAIR against values computed by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from captune.errors import MetricError
from captune.metrics import References, compute
from captune.metrics.counting.candidates import match_predictions
from captune.metrics.scores.coco_objects import COCO_OBJECTS
from captune.metrics.scores.hallucination import (
    build_phrases,
    find_objects,
    parse_object_words,
    read_object_words,
    score_hallucination,
)

CLASSES = parse_object_words(COCO_OBJECTS)
PHRASES = build_phrases(tuple(tuple(row) for row in CLASSES))


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("two women and a child on a park bench", ["person", "person", "bench"]),
        ("a hot dog beside a dog", ["hot dog", "dog"]),
        ("puppies knives buses cups mice", ["dog", "knife", "bus", "cup", "mouse"]),
        ("firemen at a fire hydrant", ["person", "fire hydrant"]),
        ("a baby elephant and a baby", ["elephant", "person"]),
        ("a passenger train with one passenger", ["train", "person"]),
        ("the train tracks by the train", ["train"]),
        ("sheep and cattle", ["sheep", "cow"]),
        ("a stuffed teddy bear", ["teddy bear"]),
        ("green grass under a blue sky", []),
        ("", []),
    ],
)
def test_objects_are_found_by_their_longest_phrase(caption: str, expected: list[str]) -> None:
    assert find_objects(caption.split(), PHRASES) == expected


def test_every_class_is_found_by_its_own_name() -> None:
    assert len(CLASSES) == 80
    for row in CLASSES:
        assert find_objects(row[0].split(), PHRASES) == [row[0]]


def test_a_word_names_one_class() -> None:
    words = [word for row in CLASSES for word in row]
    assert len(words) == len(set(words))


REFERENCES = {"1": ["A man with a dog", "a person outside"], "2": ["a cat on a sofa"]}
PREDICTIONS = {"1": "a woman and a dog with a frisbee", "2": "a kitten on a couch"}


def test_chair_counts_objects_that_no_reference_names() -> None:
    results = compute(REFERENCES, PREDICTIONS, metrics=["hallucination"])
    # person, dog and frisbee; cat and couch: one of five, in one of two captions.
    assert results.corpus == {"chair_i": pytest.approx(1 / 5), "chair_s": 0.5}
    np.testing.assert_allclose(results.per_image["chair_i"], [1 / 3, 0.0])
    assert "words:captune-coco80|truth:references" in results.signatures["chair_i"]


def test_given_objects_count_as_present() -> None:
    candidates = match_predictions(References(REFERENCES), PREDICTIONS)
    columns = score_hallucination(candidates, objects={"1": ["Frisbee"], "other": ["cat"]})
    assert columns["chair_i"].corpus == 0.0
    assert "truth:references+objects" in columns["chair_i"].variant


def test_a_given_list_replaces_the_words(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("frisbee, disc\n\nsofa , couch\n")
    candidates = match_predictions(References(REFERENCES), PREDICTIONS)
    columns = score_hallucination(candidates, words=read_object_words(path))
    assert columns["chair_i"].corpus == pytest.approx(1 / 2)
    assert "words:given-2" in columns["chair_i"].variant


def test_captions_that_name_no_objects_score_zero() -> None:
    results = compute(REFERENCES, {"1": "", "2": "grass"}, metrics=["hallucination"])
    assert results.corpus == {"chair_i": 0.0, "chair_s": 0.0}


def test_a_list_without_words_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text(" ,\n")
    with pytest.raises(MetricError, match=r"words\.txt contains no words"):
        read_object_words(tmp_path / "words.txt")
    with pytest.raises(MetricError, match=r"none\.txt cannot be read"):
        read_object_words(tmp_path / "none.txt")
