"""`compute`, the names of metrics, signatures, and bad predictions."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captune.errors import MetricError
from captune.metrics import (
    DEFAULT_METRICS,
    METRIC_GROUPS,
    METRICS,
    References,
    compute,
    resolve_metrics,
)

REFERENCES = {"1": ["a red dog runs on grass", "a dog runs"], "2": ["two cats sleep on a sofa"]}
PREDICTIONS = {"1": "a dog runs on grass", "2": "a cat sleeps"}
CHEAP = tuple(name for name, metric in METRICS.items() if not metric.needs)
# rouge_score compares in Python, which is slow for hostile lengths.
NO_ROUGE = [name for name in CHEAP if METRICS[name].group != "rouge"]


def test_a_group_stands_for_its_metrics_in_the_order_of_the_table() -> None:
    assert resolve_metrics(["cider", "bleu"]) == ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "cider")


def test_default_and_all_skip_metrics_whose_needs_are_not_installed() -> None:
    assert set(CHEAP) <= set(resolve_metrics(["all"])) <= set(METRICS)
    wanted = resolve_metrics(["default"])
    assert set(DEFAULT_METRICS) - set(wanted) <= {"meteor"}


def test_the_error_for_an_unknown_metric_names_the_nearest_and_lists_all() -> None:
    with pytest.raises(MetricError) as caught:
        resolve_metrics(["bleu", "Bleu_4"])
    assert str(caught.value).startswith("unknown metric 'Bleu_4' (did you mean 'bleu_4'?)")
    assert all(name in caught.value.fix for name in (*METRICS, *METRIC_GROUPS))


def test_an_empty_list_of_metrics_is_an_error() -> None:
    with pytest.raises(MetricError, match="no metric is given"):
        resolve_metrics([])


def test_every_metric_that_needs_no_extra_is_within_its_range() -> None:
    results = compute(REFERENCES, PREDICTIONS, metrics=CHEAP)
    assert tuple(results.corpus) == CHEAP
    for name, value in results.corpus.items():
        assert METRICS[name].low <= value <= METRICS[name].high, name
        own = results.per_image.get(name, np.zeros(0))
        assert ((own >= METRICS[name].low) & (own <= METRICS[name].high + 1e-12)).all(), name


def test_statistics_of_all_images_give_the_corpus_value() -> None:
    results = compute(REFERENCES, PREDICTIONS, metrics=CHEAP)
    for name, statistic in results.statistics.items():
        assert statistic.parts.shape[0] == 2
        value = float(statistic.corpus_value(statistic.parts.sum(axis=0)))
        assert value == pytest.approx(results.corpus[name], abs=1e-12), name


def test_signatures_state_how_a_metric_was_computed() -> None:
    results = compute(REFERENCES, PREDICTIONS, metrics=["bleu_4", "cider", "sacrebleu"])
    assert results.signatures["bleu_4"].startswith(
        "bleu_4|variant:coco|reflen:closest|tok:ptb-3.4.1|refs:1-2|images:2|captune:"
    )
    assert "variant:cider-d" in results.signatures["cider"]
    assert "df:corpus" in results.signatures["cider"]
    assert "tok:13a" in results.signatures["sacrebleu"]
    assert "ptb" not in results.signatures["sacrebleu"]
    assert results.signature == "; ".join(results.signatures.values())


def test_scores_do_not_depend_on_what_was_scored_before() -> None:
    references = References(REFERENCES)
    first = compute(references, PREDICTIONS, metrics=CHEAP)
    compute(references, {"1": "new words entirely", "2": "zebra"}, metrics=CHEAP)
    again = compute(references, dict(reversed(PREDICTIONS.items())), metrics=CHEAP)
    assert first.corpus == again.corpus
    assert first.image_ids == again.image_ids == ("1", "2")


@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        ({"1": "a dog"}, r"1 without a prediction \(2\)"),
        ({"1": "a", "2": "b", "3": "c"}, r"1 without references \(3\)"),
        (
            {str(i): "a" for i in range(2, 20)},
            r"1 without a prediction \(1\); 17 without references \(3, 4, 5, 6, 7 and 12 more\)",
        ),
        ({"1": "a", "2": None}, r"the prediction of image 2 is None \(NoneType\), not text"),
        ({"1": "a", "2": math.nan}, "the prediction of image 2 is nan"),
        ({"1": "a", "2": ["b"]}, r"the prediction of image 2 is \['b'\] \(list\)"),
        ({"1": "a", "2": "b", 2: "b"}, "image id 2 is in the predictions twice"),
        ({}, r"2 without a prediction \(1, 2\)"),
    ],
)
def test_bad_predictions_are_named(predictions: Any, message: str) -> None:
    with pytest.raises(MetricError, match=message):
        compute(REFERENCES, predictions, metrics=["bleu_1"])


@pytest.mark.filterwarnings("ignore:.* letters other:UserWarning")
@pytest.mark.parametrize(
    "caption",
    [
        "",
        " ",
        "... !? --",
        "\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467",
        "nul \x00 inside",
        "\u05db\u05dc\u05d1 \u0631\u062c\u0644",
        "lone \ud800 surrogate",
        "a dog\nruns\r\n\u2028far\x0b\x0caway",
        "\ufeffa dog",
        "x" * 20_000,
        " ".join(["dog"] * 10_000),
        "<b>a dog</b> &amp; cat",
    ],
)
def test_odd_captions_are_scored_at_any_position(caption: str) -> None:
    plain = {"a": ["a red dog"], "b": ["two cats"]}
    for references, prediction in ((plain, caption), ({**plain, "a": [caption]}, "a red dog")):
        results = compute(references, {"a": prediction, "b": "two cats"}, metrics=NO_ROUGE)
        assert all(math.isfinite(value) for value in results.corpus.values())
        # An odd caption does not change the scores of other images.
        assert results.per_image["rouge_l"][1] == pytest.approx(1.0, abs=1e-12)
        assert results.per_image["bleu_1"][1] == pytest.approx(1.0, abs=1e-8)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.text(), st.lists(st.text(), min_size=1)), min_size=1, max_size=4))
def test_any_text_is_scored(case: list[tuple[str, list[str]]]) -> None:
    references = {str(i): own for i, (_, own) in enumerate(case)}
    predictions = {str(i): caption for i, (caption, _) in enumerate(case)}
    with warnings.catch_warnings(action="ignore"):
        results = compute(references, predictions, metrics=NO_ROUGE)
    for name in NO_ROUGE:
        assert math.isfinite(results.corpus[name]), name
        assert np.isfinite(results.per_image.get(name, np.zeros(0))).all(), name


def test_importing_metrics_loads_no_torch_and_none_of_the_scoring_libraries() -> None:
    code = (
        "import sys, captune.metrics\n"
        "print([m for m in ('torch', 'transformers', 'sacrebleu', 'rouge_score', 'jiwer',"
        " 'pycocoevalcap') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
