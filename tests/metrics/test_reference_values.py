"""Equality with the values of pycocoevalcap, sacrebleu, rouge_score and jiwer on real captions."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from captune.errors import MissingExtraError
from captune.metrics import References, compute
from captune.metrics.meteor.data import find_source
from support.places import REAL_DATA

DATA = REAL_DATA / "metrics"
COCO = ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider")

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no reference values at {DATA}"),
]


def has_meteor() -> bool:
    try:
        find_source()
    except MissingExtraError:
        return False
    return True


needs_meteor = pytest.mark.skipif(not has_meteor(), reason="the extra `meteor` is not installed")


def read(name: str) -> Any:
    return json.loads((DATA / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["fakecap", "val5k"])
@pytest.mark.parametrize("metrics", [COCO, pytest.param(("meteor",), marks=needs_meteor)])
def test_coco_metrics_equal_pycocoevalcap(name: str, metrics: tuple[str, ...]) -> None:
    expected = read(f"{name}_expected.json")
    per_image = expected.get("per_image") or expected["per_image_first500"]
    results = compute(
        read(f"{name}_references.json"), read(f"{name}_predictions.json"), metrics=metrics
    )
    ids = expected["image_ids"]
    assert list(results.image_ids[: len(ids)]) == ids
    for metric in metrics:
        assert results.corpus[metric] == pytest.approx(expected["corpus"][metric], abs=1e-12)
        own = results.per_image[metric][: len(ids)]
        np.testing.assert_allclose(own, per_image[metric], rtol=0, atol=1e-12, err_msg=metric)


@pytest.fixture(scope="module")
def last_five() -> References:
    references = read("fakecap_references.json")
    return References({key: captions[-5:] for key, captions in references.items()})


def test_sacrebleu_equals_its_own_corpus_score(last_five: References) -> None:
    results = compute(last_five, read("fakecap_predictions.json"), metrics=["sacrebleu"])
    expected = read("other_metrics_fakecap.json")["sacrebleu_lc1"]["score"]
    assert results.corpus["sacrebleu"] == pytest.approx(expected, abs=1e-10)


@pytest.mark.slow
def test_rouge_equals_rouge_score(last_five: References) -> None:
    expected = read("other_metrics_fakecap.json")
    results = compute(last_five, read("fakecap_predictions.json"), metrics=["rouge"])
    for kind in ("rouge1", "rouge2", "rougeL", "rougeLsum"):
        mean = expected["rouge_score"][kind]["f"]
        assert results.corpus[kind] == pytest.approx(mean, abs=1e-12)
    for kind, values in expected["rouge_score_f_first300"].items():
        np.testing.assert_allclose(results.per_image[kind][:300], values, rtol=0, atol=1e-12)


def test_word_error_rates_equal_jiwer(last_five: References) -> None:
    expected = read("other_metrics_fakecap.json")
    results = compute(last_five, read("fakecap_predictions.json"), metrics=["word_errors"])
    assert results.corpus["wer"] == pytest.approx(expected["wer_min_over_refs_mean"], abs=1e-12)
    assert results.corpus["wer_first"] == pytest.approx(expected["wer_first_ref_lower"], abs=1e-12)
