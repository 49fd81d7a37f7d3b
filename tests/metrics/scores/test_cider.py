"""CIDEr-D, plain CIDEr, rewards and self-CIDEr against slow twins."""

from __future__ import annotations

import math
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captune.errors import MetricError
from captune.metrics import DocumentFrequencies, References, cider_rewards, compute, self_cider

sentences = st.lists(st.sampled_from(["a", "b", "dog", "runs", "far"]), max_size=7).map(" ".join)
cases = st.lists(
    st.tuples(sentences, st.lists(sentences, min_size=1, max_size=4)), min_size=2, max_size=6
)
Frequencies = tuple[Counter[tuple[str, ...]], float]


def count(caption: str) -> Counter[tuple[str, ...]]:
    words = caption.split()
    return Counter(tuple(words[i : i + n]) for n in range(1, 5) for i in range(len(words) - n + 1))


def slow_frequencies(references: list[list[str]]) -> Frequencies:
    frequencies: Counter[tuple[str, ...]] = Counter()
    for own in references:
        frequencies.update({gram for caption in own for gram in count(caption)})
    return frequencies, len(references)


def slow_vector(caption: str, frequencies: Frequencies) -> list[dict[tuple[str, ...], float]]:
    vectors: list[dict[tuple[str, ...], float]] = [{}, {}, {}, {}]
    for gram, times in count(caption).items():
        weight = math.log(frequencies[1]) - math.log(max(1.0, frequencies[0][gram]))
        vectors[len(gram) - 1][gram] = times * weight
    return vectors


def slow_cider(
    caption: str, references: list[str], frequencies: Frequencies, *, plain: bool
) -> float:
    own = slow_vector(caption, frequencies)
    total = 0.0
    for reference in references:
        other = slow_vector(reference, frequencies)
        lengths = [max(len(text.split()) - 1, 0) for text in (caption, reference)]
        penalty = 1.0 if plain else math.exp(-((lengths[0] - lengths[1]) ** 2) / 72)
        for one, two in zip(own, other, strict=True):
            shared = 0.0
            for gram, value in one.items():
                against = two.get(gram, 0.0)
                shared += (value if plain else min(value, against)) * against
            norm = math.hypot(*one.values()) * math.hypot(*two.values())
            total += penalty * (shared / norm if norm else shared)
    return 10 * total / 4 / len(references)


@settings(max_examples=50, deadline=None)
@given(cases)
def test_both_ciders_equal_the_slow_twin(case: list[tuple[str, list[str]]]) -> None:
    references = {str(i): own for i, (_, own) in enumerate(case)}
    predictions = {str(i): caption for i, (caption, _) in enumerate(case)}
    results = compute(references, predictions, metrics=["cider", "cider_plain"])
    frequencies = slow_frequencies([own for _, own in case])
    for name in ("cider", "cider_plain"):
        plain = name == "cider_plain"
        expected = [slow_cider(text, own, frequencies, plain=plain) for text, own in case]
        np.testing.assert_allclose(results.per_image[name], expected, rtol=0, atol=1e-12)
        assert results.corpus[name] == pytest.approx(np.mean(expected), abs=1e-12)


def test_a_perfect_caption_of_two_words_gets_five() -> None:
    references = {"1": ["red dog"], "2": ["blue cat"]}
    results = compute(references, {"1": "red dog", "2": "x"}, metrics=["cider"])
    assert results.per_image["cider"].tolist() == [pytest.approx(5.0, abs=1e-12), 0.0]


def test_one_image_warns_and_scores_zero() -> None:
    with pytest.warns(UserWarning, match="CIDEr of one image is 0"):
        results = compute({"1": ["a red dog runs"]}, {"1": "a red dog runs"}, metrics=["cider"])
    assert results.corpus["cider"] == 0.0


def test_one_image_is_scored_with_given_frequencies() -> None:
    training = References({"1": ["a red dog runs"], "2": ["a blue cat"], "3": ["a dog"]})
    results = compute(
        {"1": ["a red dog runs"]},
        {"1": "a red dog sits"},
        metrics=["cider"],
        frequencies=training.frequencies,
    )
    frequencies = slow_frequencies([["a red dog runs"], ["a blue cat"], ["a dog"]])
    expected = slow_cider("a red dog sits", ["a red dog runs"], frequencies, plain=False)
    assert results.corpus["cider"] == pytest.approx(expected, abs=1e-12)
    assert re.search(r"df:3-images-[0-9a-f]{8}\|", results.signatures["cider"])


def test_with_frequencies_of_other_words_every_ngram_is_rare() -> None:
    other = DocumentFrequencies.of_ngrams({("zebra",): 3}, num_documents=10, name="zebras")
    results = compute(
        {"1": ["a red dog"]}, {"1": "a red dog"}, metrics=["cider"], frequencies=other
    )
    assert results.corpus["cider"] == pytest.approx(7.5, abs=1e-12)
    assert "df:zebras" in results.signatures["cider"]


def test_rewards_score_any_number_of_captions_per_image() -> None:
    references = {"1": ["a red dog runs", "a dog"], "2": ["a blue cat"], "3": ["two cats sit"]}
    captions = ["a dog", "a red dog runs", "blue cat", "a dog", ""]
    ids = ["1", "1", "2", "2", "3"]
    frequencies = slow_frequencies(list(references.values()))
    expected = [
        slow_cider(text, references[i], frequencies, plain=False)
        for text, i in zip(captions, ids, strict=True)
    ]
    rewards = cider_rewards(References(references), captions, image_ids=ids)
    np.testing.assert_allclose(rewards, expected, rtol=0, atol=1e-12)


def test_rewards_name_an_unknown_image() -> None:
    references = References({"1": ["a dog"], "2": ["a cat"]})
    with pytest.raises(MetricError, match="image 9 has no references"):
        cider_rewards(references, ["a dog"], image_ids=["9"])
    with pytest.raises(MetricError, match="1 caption and 2 image ids"):
        cider_rewards(references, ["a dog"], image_ids=["1", "2"])


def test_self_cider_is_zero_for_equal_captions_and_one_for_unlike_ones() -> None:
    references = References({str(i): [f"w{i} x{i} y{i} z{i}"] for i in range(6)})
    values = self_cider(
        {"same": ["w1 x1 y1 z1"] * 3, "unlike": ["w1 x1 y1 z1", "w2 x2 y2 z2", "w3 x3 y3 z3"]},
        references.frequencies,
    )
    assert values["same"] == pytest.approx(0.0, abs=1e-6)
    assert values["unlike"] == pytest.approx(1.0, abs=1e-12)


def test_self_cider_follows_the_kernel_of_the_paper() -> None:
    sets = [["a red dog", "a dog"], ["a cat", "one cat"], ["far"]]
    frequencies = slow_frequencies(sets)
    samples = ["a red dog", "a red cat", "far"]
    kernel = np.array(
        [[slow_cider(x, [y], frequencies, plain=True) / 10 for y in samples] for x in samples]
    )
    roots = np.sqrt(np.clip(np.linalg.eigvalsh(kernel), 0, None))
    expected = -np.log(roots[-1] / roots.sum()) / np.log(3)
    references = References({str(i): own for i, own in enumerate(sets)})
    value = self_cider({"1": samples}, references.frequencies)["1"]
    assert value == pytest.approx(expected, abs=1e-9)


def test_self_cider_names_an_image_with_one_caption() -> None:
    references = References({"1": ["a dog"], "2": ["a cat"]})
    with pytest.raises(MetricError, match="image 7 has fewer than two"):
        self_cider({"7": ["a dog"]}, references.frequencies)
