"""METEOR against the jar's statistics, by hand, and at its edges."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

from captune.errors import MetricError, MissingExtraError
from captune.metrics.meteor.data import find_source
from captune.metrics.meteor.score import MAX_WORD_PAIRS, Meteor, score_parts
from captune.metrics.meteor.stem import stem
from captune.metrics.meteor.words import java_hash
from captune.metrics.ptb.tokenize import tokenize
from support.metrics import meteor_language as language
from support.places import REAL_DATA

DATA = REAL_DATA / "metrics"


def _has_wheel() -> bool:
    try:
        find_source()
    except MissingExtraError:
        return False
    return True


needs_wheel = pytest.mark.skipif(not _has_wheel(), reason="pycocoevalcap is not installed")
needs_values = pytest.mark.skipif(not DATA.is_dir(), reason=f"no reference values at {DATA}")


@pytest.fixture(scope="module")
def meteor(tmp_path_factory: pytest.TempPathFactory) -> Meteor:
    folder = tmp_path_factory.mktemp("wheel")
    language.write_wheel(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("CAPTUNE_CACHE", str(folder / "cache"))
        return Meteor.load()


def read_tokens(name: str) -> tuple[list[list[list[str]]], list[list[str]]]:
    references = json.loads((DATA / f"{name}_references.json").read_text(encoding="utf-8"))
    predictions = json.loads((DATA / f"{name}_predictions.json").read_text(encoding="utf-8"))
    flat = iter(tokenize([caption for image in predictions for caption in references[image]]))
    grouped = [[next(flat) for _ in references[image]] for image in predictions]
    return grouped, tokenize(list(predictions.values()))


@pytest.mark.real_data
@needs_values
@needs_wheel
def test_the_23_statistics_of_1000_images_equal_those_of_the_jar() -> None:
    result = Meteor.load().score(*read_tokens("fakecap"))
    with gzip.open(DATA / "meteor_stats_fakecap.json.gz") as file:
        np.testing.assert_array_equal(result.statistics, json.load(file)["stats"])
    expected = json.loads((DATA / "fakecap_expected.json").read_text(encoding="utf-8"))
    assert result.corpus == pytest.approx(expected["corpus"]["meteor"], abs=1e-12)
    per_image = expected["per_image"]["meteor"]
    np.testing.assert_allclose(result.per_image, per_image, rtol=0, atol=1e-12)


@pytest.mark.real_data
@needs_values
@needs_wheel
def test_corpus_and_first_500_images_of_val5k_equal_those_of_the_jar() -> None:
    result = Meteor.load().score(*read_tokens("val5k"))
    expected = json.loads((DATA / "val5k_expected.json").read_text(encoding="utf-8"))
    assert result.corpus == pytest.approx(expected["corpus"]["meteor"], abs=1e-12)
    per_image = expected["per_image_first500"]["meteor"]
    np.testing.assert_allclose(result.per_image[:500], per_image, rtol=0, atol=1e-12)


def test_a_score_equals_a_value_computed_by_hand(meteor: Meteor) -> None:
    # `the` and `dog` match, `cat` does not: content 1 of 2, function words 1 of 1, two chunks
    # joined into one.
    result = meteor.score([[["the", "dog", "tree"]]], [["the", "dog", "cat"]])
    part = (0.75 * 1 + 0.25 * 1) / (0.75 * 2 + 0.25 * 1)
    mean = part * part / (0.85 * part + 0.15 * part)
    assert result.per_image[0] == pytest.approx(mean * (1 - 0.6 * (1 / 2) ** 0.2), abs=1e-15)
    assert result.corpus == result.per_image[0]


def test_a_completely_matched_caption_scores_one_and_adds_no_chunk(meteor: Meteor) -> None:
    same = ["the", "big", "dog"]
    result = meteor.score([[same]], [same])
    assert result.per_image.tolist() == [1.0]
    assert result.statistics[0, 20] == 1
    assert result.parts[0, 20] == 0


def test_the_corpus_value_comes_from_sums_and_can_be_resampled(meteor: Meteor) -> None:
    references = [[["the", "dog"]], [["a", "cat", "runs"]], [["tree"]]]
    result = meteor.score(references, [["the", "dog"], ["cat", "on", "a"], ["dog"]])
    weights = np.array([[1, 1, 1], [0, 2, 1], [3, 0, 0]])
    values = score_parts(weights @ result.parts)
    assert values[0] == result.corpus
    assert values[2] == 1.0
    assert result.corpus != pytest.approx(result.per_image.mean())


def test_with_a_tie_the_first_reference_gives_the_statistics(meteor: Meteor) -> None:
    # Neither reference matches, so both score 0; their lengths differ.
    long, short = ["cat", "tree", "front"], ["tree"]
    assert meteor.score([[long, short]], [["dog"]]).statistics[0, 1] == 3
    assert meteor.score([[short, long]], [["dog"]]).statistics[0, 1] == 1


def test_the_best_reference_counts(meteor: Meteor) -> None:
    dog, cat = ["the", "dog"], ["the", "cat"]
    assert meteor.score([[cat, dog]], [dog]).per_image[0] == 1.0


@pytest.mark.parametrize("size", [0, 1, 499, 500, 501, 1203])
def test_splitting_into_blocks_changes_nothing(meteor: Meteor, size: int) -> None:
    rng = np.random.default_rng(size)
    words = np.array(language.WORDS)
    captions = [list(words[rng.integers(0, len(words), rng.integers(0, 9))]) for _ in range(size)]
    references = [[caption[::-1], caption[1:]] for caption in captions]
    result = meteor.score(references, captions)
    assert result.statistics.shape == (size, 23)
    for place in range(0, size, max(1, size // 7)):
        alone = meteor.score([references[place]], [captions[place]])
        np.testing.assert_array_equal(result.statistics[place], alone.statistics[0])


@pytest.mark.parametrize(
    ("reference", "prediction"),
    [([], ["a"]), (["a"], []), ([], []), (["日"], ["日", "\x00"]), (["\ud800"], ["😀"])],
)
def test_odd_captions_score_without_a_crash(
    meteor: Meteor, reference: list[str], prediction: list[str]
) -> None:
    result = meteor.score([[reference]], [prediction])
    assert 0.0 <= result.per_image[0] <= 1.0


def test_10000_words_score_and_two_such_captions_name_the_image(meteor: Meteor) -> None:
    long = ["the", "dog", "on", "a", "tree"] * 2_000
    assert meteor.score([[["a", "dog"]]], [long]).statistics[0, 0] == 10_000
    with pytest.raises(MetricError) as caught:
        meteor.score([[["a"]], [long]], [["a"], long], image_ids=["7", "x.jpg"])
    assert str(caught.value) == (
        "a prediction of 10000 words against a reference of 10000 words is too long for METEOR\n"
        "  where: image_id x.jpg\n"
        f"  fix:   keep the product of both lengths under {MAX_WORD_PAIRS:,}"
    )


def test_mismatched_predictions_and_references_are_named(meteor: Meteor) -> None:
    with pytest.raises(MetricError, match="2 predictions for the references of 1 image"):
        meteor.score([[["a"]]], [["a"], ["b"]])
    with pytest.raises(MetricError, match="an image has no references") as caught:
        meteor.score([[["a"]], []], [["a"], ["b"]])
    assert caught.value.where == "image number 1"


def test_words_are_hashed_as_java_hashes_them() -> None:
    assert java_hash("") == 0
    assert java_hash("1n") == java_hash("30") == 1629
    # "polygenelubricants".hashCode() is Integer.MIN_VALUE, the famous one.
    assert java_hash("polygenelubricants") == 1 << 31
    assert java_hash("😀") == 31 * 0xD83D + 0xDE00
    assert stem("running") == "run"
