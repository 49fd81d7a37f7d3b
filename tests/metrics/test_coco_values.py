"""Equality with pycocoevalcap on captions of our own, in any clone of this repository.

`expected/make_coco_values.py` wrote the values with the reference implementation and Java.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captune.metrics import MetricResults, References, compute, resolve_metrics
from captune.metrics.counting.candidates import match_predictions

FOLDER = Path(__file__).parent / "expected"
LINES = (FOLDER / "captions.jsonl").read_text(encoding="utf-8").split("\n")
ROWS = [json.loads(line) for line in LINES if line]
EXPECTED: dict[str, Any] = json.loads((FOLDER / "coco_values.json").read_text(encoding="utf-8"))
NAMES = tuple(EXPECTED["corpus"])


@pytest.fixture(scope="module")
def references() -> References:
    return References({row["image_id"]: row["references"] for row in ROWS})


@pytest.fixture(scope="module")
def predictions() -> dict[str, str]:
    return {row["image_id"]: row["prediction"] for row in ROWS}


@pytest.fixture(scope="module")
def results(references: References, predictions: dict[str, str]) -> MetricResults:
    names = [name for name in NAMES if name in (*resolve_metrics(["default"]), "meteor")]
    return compute(references, predictions, metrics=names)


def test_the_captions_are_many_and_odd() -> None:
    texts = [text for row in ROWS for text in (row["prediction"], *row["references"])]
    assert len(ROWS) >= 60
    assert all(3 <= len(row["references"]) <= 5 for row in ROWS)
    assert "" in texts
    assert any(not text.isascii() for text in texts)


def test_captions_are_split_into_the_same_tokens(
    references: References, predictions: dict[str, str]
) -> None:
    expected = [text.split(" ") for own in EXPECTED["reference_tokens"] for text in own]
    assert references.tokens == [[word for word in own if word] for own in expected]
    tokens = match_predictions(references, predictions).tokens
    given = [text.split(" ") for text in EXPECTED["prediction_tokens"]]
    assert tokens == [[word for word in own if word] for own in given]


@pytest.mark.parametrize("name", NAMES)
def test_the_corpus_value_is_the_same_to_the_last_digit(name: str, results: MetricResults) -> None:
    expected = EXPECTED["corpus"][name]
    # CIDEr adds each caption's n-grams in another order: one unit in the last of 17 digits.
    units = 1 if name == "cider" else 0
    assert abs(results.corpus[name] - expected) <= units * np.spacing(expected)


@pytest.mark.parametrize("name", NAMES)
def test_every_image_has_the_same_value(name: str, results: MetricResults) -> None:
    expected = np.array(EXPECTED["per_image"][name])
    # Sums of floats in another order: 4e-15 of a CIDEr of 10.
    assert np.abs(results.per_image[name] - expected).max() <= 1e-14
