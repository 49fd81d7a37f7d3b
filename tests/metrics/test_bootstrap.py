"""Intervals and paired tests against slow resampling."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from captune.errors import MetricError
from captune.metrics import (
    METRICS,
    MetricResults,
    References,
    bootstrap_intervals,
    compute,
    paired_bootstrap,
)
from captune.metrics.bootstrap import draw_counts

WORDS = ["a", "dog", "cat", "runs", "sits", "on", "grass"]


def make_case(num_images: int, seed: int) -> tuple[dict[str, list[str]], dict[str, str]]:
    generator = np.random.default_rng(seed)

    def draw_caption() -> str:
        return " ".join(generator.choice(WORDS, generator.integers(2, 9)))

    references = {str(i): [draw_caption() for _ in range(3)] for i in range(num_images)}
    return references, {image_id: draw_caption() for image_id in references}


def test_resampled_values_equal_scoring_the_drawn_images_again() -> None:
    references, predictions = make_case(8, seed=1)
    names = ["bleu", "rouge_l", "sacrebleu", "wer", "mean_length"]
    results = compute(references, predictions, metrics=names)
    counts = np.concatenate(list(draw_counts(8, num_resamples=5, seed=3)))
    for row in counts:
        drawn = [i for i, times in enumerate(row) for _ in range(int(times))]
        again = compute(
            {str(place): references[str(i)] for place, i in enumerate(drawn)},
            {str(place): predictions[str(i)] for place, i in enumerate(drawn)},
            metrics=names,
        )
        for name, statistic in results.statistics.items():
            value = float(statistic.corpus_value(row @ statistic.parts))
            assert value == pytest.approx(again.corpus[name], abs=1e-12), name


def test_intervals_are_percentiles_of_the_resampled_values() -> None:
    references, predictions = make_case(12, seed=2)
    results = compute(references, predictions, metrics=["bleu_4", "cider"])
    counts = np.concatenate(list(draw_counts(12, num_resamples=200, seed=5)))
    means = counts @ results.per_image["cider"] / 12
    low, high = bootstrap_intervals(results, num_resamples=200, seed=5)["cider"]
    assert [low, high] == pytest.approx(np.percentile(means, [2.5, 97.5]).tolist(), abs=1e-12)


def test_resamples_have_the_size_of_the_set_and_follow_the_seed() -> None:
    one = np.concatenate(list(draw_counts(7, num_resamples=50, seed=1)))
    assert one.shape == (50, 7)
    assert (one.sum(axis=1) == 7).all()
    assert (one == np.concatenate(list(draw_counts(7, num_resamples=50, seed=1)))).all()
    assert (one != np.concatenate(list(draw_counts(7, num_resamples=50, seed=2)))).any()


def test_large_sets_are_resampled_in_blocks() -> None:
    blocks = [block.shape for block in draw_counts(1_500_000, num_resamples=5, seed=0)]
    assert blocks == [(2, 1_500_000), (2, 1_500_000), (1, 1_500_000)]


def test_a_system_against_itself_is_all_ties() -> None:
    references, predictions = make_case(10, seed=4)
    results = compute(references, predictions, metrics=["bleu_4", "rouge_l"])
    test = paired_bootstrap(results, results, num_resamples=100)["rouge_l"]
    assert (test.delta, test.low, test.high, test.p_value) == (0.0, 0.0, 0.0, 1.0)
    assert (test.wins, test.ties, test.losses) == (0, 10, 0)


def test_a_clearly_better_system_wins() -> None:
    references, predictions = make_case(30, seed=5)
    counted = References(references)
    names = ["bleu_4", "rouge_l", "wer", "distinct_1"]
    poor = compute(counted, predictions, metrics=names)
    good = compute(counted, {i: own[0] for i, own in references.items()}, metrics=names)
    tests = paired_bootstrap(poor, good, num_resamples=500)
    assert set(tests) == {"bleu_4", "rouge_l", "wer"}
    for name, test in tests.items():
        better = test.delta if METRICS[name].better == "higher" else -test.delta
        assert better > 0
        assert test.low <= test.delta <= test.high
        assert test.low > 0 or test.high < 0
        assert test.p_value == pytest.approx(1 / 501)
        assert test.wins > 25
        assert test.wins + test.ties + test.losses == 30


def test_the_p_value_of_two_equal_systems_is_not_small() -> None:
    references, one = make_case(60, seed=6)
    _, other = make_case(60, seed=7)
    counted = References(references)
    tests = paired_bootstrap(
        compute(counted, one, metrics=["rouge_l"]), compute(counted, other, metrics=["rouge_l"])
    )
    assert tests["rouge_l"].p_value > 0.05


def test_systems_with_different_images_or_signatures_are_not_compared() -> None:
    references, predictions = make_case(4, seed=8)
    results = compute(references, predictions, metrics=["cider"])
    fewer = {key: references[key] for key in list(references)[:3]}
    other = compute(fewer, {key: predictions[key] for key in fewer}, metrics=["cider"])
    with pytest.raises(MetricError, match="scored on 4 and 3 images"):
        paired_bootstrap(results, other)
    weighed = compute(
        references, predictions, metrics=["cider"], frequencies=References(fewer).frequencies
    )
    with pytest.raises(MetricError, match="cider was computed in two ways"):
        paired_bootstrap(results, weighed)


def test_zero_resamples_are_an_error() -> None:
    references, predictions = make_case(3, seed=9)
    results = compute(references, predictions, metrics=["bleu_1"])
    with pytest.raises(MetricError, match="0 resamples"):
        bootstrap_intervals(results, num_resamples=0)


def test_a_thousand_resamples_of_five_thousand_images_give_an_interval_per_metric() -> None:
    references, predictions = make_case(500, seed=10)
    results = compute(references, predictions, metrics=["bleu", "rouge_l", "cider"])
    tiled = {
        name: type(statistic)(np.tile(statistic.parts, (10, 1)), statistic.corpus_value)
        for name, statistic in results.statistics.items()
    }
    ids = tuple(str(i) for i in range(5000))
    large = MetricResults(ids, results.corpus, {}, tiled, results.signatures)
    intervals = bootstrap_intervals(large)
    assert len(intervals) == 6
    # With ten times the images, the interval is about a third as wide.
    few = bootstrap_intervals(results)
    for name, (low, high) in intervals.items():
        assert 0.2 < (high - low) / (few[name][1] - few[name][0]) < 0.45, name


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("num_images", [1, 3, 5, 6, 9, 40])
@pytest.mark.parametrize("num_resamples", [10, 99, 1000])
def test_an_interval_excludes_zero_exactly_if_p_is_below_the_threshold(
    seed: int, num_images: int, num_resamples: int
) -> None:
    references, one = make_case(num_images, seed=seed)
    counted = References(references)
    # Some captions are copied from a reference, so that some pairs differ and others do not.
    other = {
        image_id: own[0] if int(image_id) % 4 <= seed % 4 else one[image_id]
        for image_id, own in references.items()
    }
    names = ["rouge_l", "bleu_1", "wer"]
    with warnings.catch_warnings(action="ignore"):
        first, second = (compute(counted, captions, metrics=names) for captions in (one, other))
    tests = paired_bootstrap(first, second, num_resamples=num_resamples, seed=seed)
    for name, test in tests.items():
        assert test.low <= test.delta <= test.high
        is_measured = test.low > 0 or test.high < 0
        assert is_measured == (test.p_value < 0.05), (name, test)


def test_the_interval_ends_at_the_largest_distance_that_keeps_p_above_the_threshold() -> None:
    references, one = make_case(40, seed=3)
    _, other = make_case(40, seed=4)
    counted = References(references)
    first, second = (compute(counted, own, metrics=["rouge_l"]) for own in (one, other))
    counts = np.concatenate(list(draw_counts(40, num_resamples=1000, seed=0)))
    deltas = counts @ (second.per_image["rouge_l"] - first.per_image["rouge_l"]) / 40
    distances = sorted(np.abs(deltas - deltas.mean()), reverse=True)
    test = paired_bootstrap(first, second, num_resamples=1000)["rouge_l"]
    # p = (n + 1) / 1001 is below 0.05 for up to 49 distances, so the 50th largest is the end.
    reach = distances[49]
    assert [test.low, test.high] == pytest.approx([test.delta - reach, test.delta + reach])


def test_differences_below_the_displayed_digits_are_ties() -> None:
    references = {str(i): ["a b c d e f"] for i in range(24)}
    # No match of four words in either: BLEU-4 differs by about 1e-6.
    one = compute(references, dict.fromkeys(references, "a x y z"), metrics=["bleu_4"])
    other = compute(references, dict.fromkeys(references, "a b x y z"), metrics=["bleu_4"])
    difference = other.per_image["bleu_4"] - one.per_image["bleu_4"]
    assert (difference != 0).all()
    assert (np.abs(difference) < 0.0005).all()
    test = paired_bootstrap(one, other)["bleu_4"]
    assert (test.wins, test.ties, test.losses) == (0, 24, 0)
