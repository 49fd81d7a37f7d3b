"""The batched matcher and beam against a slow twin, on a small language of many ambiguities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from captune.metrics.meteor.score import Meteor
from support.metrics import meteor_language as language
from support.metrics.meteor_twin import Twin
from support.soak import count, soak

TWIN = Twin(
    synsets=language.SYNSETS,
    irregular=language.IRREGULAR,
    function=language.FUNCTION_WORDS,
    paraphrases=language.PARAPHRASES,
)


@pytest.fixture(scope="module")
def meteor(tmp_path_factory: pytest.TempPathFactory) -> Meteor:
    folder: Path = tmp_path_factory.mktemp("wheel")
    language.write_wheel(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("CAPTUNE_CACHE", str(folder / "cache"))
        return Meteor.load()


words = st.one_of(
    st.sampled_from(language.WORDS),
    # Few words, often: many matches for each place, and beams that overflow.
    st.sampled_from(["a", "the", "on", "big", "large", "dog", "top", "of"]),
)
captions = st.lists(words, max_size=14)


@soak
@settings(max_examples=count(150, full=4000), deadline=None)
@given(st.lists(st.tuples(captions, captions), min_size=1, max_size=6))
@example([(["on", "top", "of", "the", "dog"], ["on", "a", "dog"])])
@example([(["dog"], ["dogs"]), (["big", "dog"], ["big", "dogs"]), ([], ["a"]), (["a"], [])])
@example([(["a", "1n"], ["30", "a"])])
@example([(["a", "on"] * 6, ["on", "a"] * 6)])
def test_statistics_equal_a_slow_twin(
    meteor: Meteor, pairs: list[tuple[list[str], list[str]]]
) -> None:
    result = meteor.score([[theirs] for _, theirs in pairs], [ours for ours, _ in pairs])
    expected = [TWIN.statistics(ours, theirs) for ours, theirs in pairs]
    np.testing.assert_array_equal(result.statistics, expected)


@pytest.mark.parametrize(
    ("constant", "value"),
    [("meteor.align.MAX_KEY", 0), ("meteor.match.MAX_CELLS", 1), ("meteor.match.MAX_CELLS", 50)],
)
def test_huge_keys_and_small_blocks_change_nothing(
    meteor: Meteor, monkeypatch: pytest.MonkeyPatch, constant: str, value: int
) -> None:
    rng = np.random.default_rng(5)
    vocabulary = np.array(language.WORDS)
    sizes = rng.integers(0, 15, (2, 40)).tolist()
    ours, theirs = (
        [vocabulary[rng.integers(0, len(vocabulary), size)].tolist() for size in own]
        for own in sizes
    )
    monkeypatch.setattr(f"captune.metrics.{constant}", value)
    statistics = meteor.score([[caption] for caption in theirs], ours).statistics
    expected = [TWIN.statistics(*pair) for pair in zip(ours, theirs, strict=True)]
    np.testing.assert_array_equal(statistics, expected)


@pytest.mark.parametrize("length", [63, 64, 65, 130, 600])
def test_predictions_longer_than_a_machine_word_are_aligned_the_same_way(
    meteor: Meteor, length: int
) -> None:
    ours = (["a", "big", "dog", "on", "top", "of", "the", "tree"] * length)[:length]
    theirs = ["the", "large", "hound", "is", "on", "a", "tree"]
    result = meteor.score([[theirs], [theirs]], [ours, theirs])
    assert result.statistics[0].tolist() == TWIN.statistics(ours, theirs)
    assert result.per_image[1] == 1.0


def test_one_stem_is_matched_beside_an_exact_match_but_not_alone(meteor: Meteor) -> None:
    # Half a word, rounded down, gains nothing; alone it would only cost a chunk.
    result = meteor.score([[["cats"]], [["big", "cats"]]], [["cat"], ["big", "cat"]])
    assert result.statistics[0, 20:].tolist() == [0, 0, 0]
    assert result.statistics[1, 20:].tolist() == [1, 2, 2]
    assert result.statistics[1, 8:10].tolist() == [1, 1]


def test_the_beam_keeps_forty_paths_no_more_no_less(meteor: Meteor) -> None:
    # Found by searching with the twin: 39 and 41 paths end in five chunks, 40 in four.
    ours = ["a", "on", "dog", "the", "a", "the", "on", "tree", "on"]
    theirs = ["on", "a", "a", "on", "on", "on", "big", "the", "on"]
    assert meteor.score([[theirs]], [ours]).statistics[0, 20:].tolist() == [4, 6, 6]
