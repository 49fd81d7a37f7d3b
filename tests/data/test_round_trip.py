"""Captions that a tokenizer cannot write are measured, reported, and refused near 100 %."""

from __future__ import annotations

import pytest

from captune.data import (
    LoadedData,
    ReadBack,
    add_round_trip,
    check_data,
    measure_round_trip,
    refuse_lost_captions,
)
from captune.errors import DataError
from captune.models import caption_reader, load_tokenizer
from support.models.tiny_wordpiece import save_wordpiece

ENGLISH = ["A dog runs on the grass.", "The cat's on 3 dogs!"]
THAI = ["ผู้ชายใส่เสื้อสีแดงยืนข้างเรือ", "สุนัขสองตัววิ่งบนสนามหญ้า"]
CHINESE = ["一个男人站在船旁边", "两只狗在草地上奔跑"]
HINDI = ["एक आदमी नाव के पास खड़ा है", "दो कुत्ते घास पर दौड़ रहे हैं"]


@pytest.fixture(scope="module")
def read_back(tmp_path_factory: pytest.TempPathFactory):
    folder = save_wordpiece(tmp_path_factory.mktemp("tokenizers") / "wordpiece")
    tokenizer = load_tokenizer(str(folder), where="--tokenizer", trust_remote_code=False)
    return caption_reader(tokenizer, lower_case=False)


def test_english_is_kept_except_for_case_and_spaces(read_back) -> None:
    trip = measure_round_trip(ENGLISH, read_back)
    assert (trip.num_captions, trip.num_unknown, trip.num_changed) == (2, 0, 0)
    assert trip.share == 0.0


@pytest.mark.parametrize("captions", [THAI, CHINESE, HINDI])
def test_scripts_unknown_to_the_tokenizer_are_refused(captions: list[str], read_back) -> None:
    trip = measure_round_trip(captions, read_back)
    assert trip.num_unknown == 2
    assert trip.share == 1.0
    with pytest.raises(DataError, match=r"does not know 100\.0 % of the captions") as caught:
        refuse_lost_captions(trip, where="model.tokenizer")
    assert "kind: bpe" in caught.value.fix
    assert caught.value.where == "model.tokenizer"


def test_stripped_accents_count_as_changed(read_back) -> None:
    trip = measure_round_trip(["un café", "un chien"], read_back)
    assert (trip.num_unknown, trip.num_changed) == (0, 1)
    assert (trip.example, trip.comes_back) == ("un café", "un cafe")
    refuse_lost_captions(trip, where="model.tokenizer")


def test_nearly_all_captions_lost_is_an_error_and_some_lost_a_warning() -> None:
    def trip_of(lost: int):
        captions = [f"caption {number}" for number in range(100)]
        return measure_round_trip(
            captions,
            lambda texts: [
                ReadBack("" if n < lost else text, int(n < lost)) for n, text in enumerate(texts)
            ],
        )

    findings = check_data(LoadedData(()))
    assert add_round_trip(findings, trip_of(4)).problems == findings.problems
    (warning,) = add_round_trip(findings, trip_of(5)).problems
    assert warning.severity == "warning"
    assert warning.text.startswith("the tokenizer changes or does not know 5.0 % of the captions")
    checked = add_round_trip(findings, trip_of(90))
    assert [problem.severity for problem in checked.problems] == ["error"]
    assert checked.num_errors == 1


def test_a_rare_word_in_every_caption_is_a_warning_not_an_error() -> None:
    captions = [f"a dog runs on grass near number {number}" for number in range(50)]
    trip = measure_round_trip(
        captions, lambda texts: [ReadBack(text.rsplit(" ", 1)[0], 1) for text in texts]
    )
    assert trip.share == 1.0
    assert trip.kept > 0.9
    refuse_lost_captions(trip, where="model.tokenizer")
    (warning,) = add_round_trip(check_data(LoadedData(())), trip).problems
    assert warning.severity == "warning"


def test_at_most_twenty_thousand_captions_are_checked_evenly_spread() -> None:
    captions = [str(number) for number in range(50_000)]
    seen: list[str] = []

    def read(texts):
        seen.extend(texts)
        return [ReadBack(text, 0) for text in texts]

    assert measure_round_trip(captions, read).num_captions == 16_667
    assert seen[:2] == ["0", "3"]
    assert measure_round_trip([], read).share == 0.0
