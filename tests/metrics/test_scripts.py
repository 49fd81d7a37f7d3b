"""Captions in scripts that some metrics cannot read: detection, and warnings with advice."""

from __future__ import annotations

import warnings

import pytest

from captune.metrics import References, compute, measure_scripts

THAI = ["ผู้ชายใส่เสื้อสีแดงยืนข้างเรือ", "สุนัขสองตัววิ่งบนสนามหญ้า"]
CHINESE = ["一个穿红色衣服的男人站在船旁边", "两只狗在草地上奔跑"]
JAPANESE = ["赤い服を着た男性がボートのそばに立っている", "二匹の犬が芝生を走っている"]
ARABIC = ["رجل يرتدي قميصا أحمر يقف بجانب القارب", "كلبان يركضان على العشب"]
FRENCH = ["un chien brun court dans l'herbe", "deux tasses de café près d'une fenêtre à côté"]


@pytest.mark.parametrize(
    ("captions", "name", "tokenizers"),
    [
        (THAI, "Thai", ("char",)),
        (CHINESE, "Chinese", ("char", "zh")),
        (JAPANESE, "Japanese", ("char", "ja-mecab")),
        (["ຜູ້ຊາຍໃສ່ເສື້ອສີແດງຢືນຂ້າງເຮືອ"], "Lao", ("char",)),
        (["បុរសពាក់អាវក្រហមឈរក្បែរទូក"], "Khmer", ("char",)),
        (["အနီရောင်အင်္ကျီဝတ်ထားသောအမျိုးသား"], "Burmese", ("char",)),
        (["མི་ཞིག་གྲུའི་འགྲམ་དུ་ལངས་འདུག"], "Tibetan", ("char",)),
        ([*CHINESE, "a dog runs"] * 5, "Chinese", ("char", "zh")),
    ],
)
def test_scripts_without_spaces_are_found(
    captions: list[str], name: str, tokenizers: tuple[str, ...]
) -> None:
    scripts = measure_scripts(captions)
    assert (scripts.unspaced, scripts.tokenizers) == (name, tokenizers)


@pytest.mark.parametrize(
    "captions",
    [
        ["a man by a boat", "two dogs"],
        [" ".join(text) for text in CHINESE],
        ["两只 狗 在 草地 上 奔跑", "男性 が スケートボード に 乗って いる"],
        ["ผู้ชาย ใส่ เสื้อ สีแดง ยืน ข้าง เรือ"],
        ["남자가 배 옆에 서 있다", "개 두 마리가 달린다"],
        ARABIC,
        FRENCH,
        ["a sign that says 出口", *["a dog on grass"] * 20],
        [],
        ["", "..."],
    ],
)
def test_captions_with_spaces_between_words_cause_no_warning(captions: list[str]) -> None:
    assert measure_scripts(captions).unspaced == ""


def test_the_share_of_words_outside_a_to_z_is_measured() -> None:
    assert measure_scripts(ARABIC).outside_a_z == 1.0
    assert measure_scripts(["a dog", "two dogs"]).outside_a_z == 0.0
    assert measure_scripts(["un café noir"]).outside_a_z == pytest.approx(1 / 3)


def warnings_of(captions: list[str], *metrics: str, **settings: str) -> list[str]:
    references = References({str(i): [text] for i, text in enumerate(captions)}, **settings)  # type: ignore[arg-type]
    predictions = {str(i): text for i, text in enumerate(captions)}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        compute(references, predictions, metrics=metrics)
    return [str(warning.message) for warning in caught]


def test_a_script_without_spaces_causes_a_warning_with_advice() -> None:
    (text,) = warnings_of(CHINESE, "bleu_4", "cider", "wer")
    assert text.startswith("bleu_4, cider, wer: the captions are Chinese, written without spaces")
    assert "--tokenize char or --tokenize zh (evaluate.tokenize in a recipe)" in text
    assert "--tokenize char (evaluate" in warnings_of(THAI, "rouge_l")[0]
    assert warnings_of(CHINESE, "bleu_4", "cider", "wer", tokenizer="zh") == []


def test_predictions_in_such_a_script_cause_a_warning_too() -> None:
    with pytest.warns(UserWarning, match="the captions are Thai"):
        compute({"1": ["a dog"], "2": ["two cats"]}, dict(zip("12", THAI, strict=True)))


def test_rouge_of_words_outside_a_to_z_causes_a_warning() -> None:
    (text,) = warnings_of(ARABIC, "rouge", "bleu_4", "rouge_l")
    assert text.startswith(
        "rouge1, rouge2, rougeL, rougeLsum: rouge_score reads only the letters a to"
    )
    assert "100 % of the words" in text
    assert warnings_of(ARABIC, "bleu_4", "rouge_l", "cider") == []
    assert warnings_of(ARABIC, "rouge", tokenizer="char") == []
    assert len(warnings_of(FRENCH, "rouge1")) == 1


def test_metrics_for_english_warn_of_other_scripts() -> None:
    assert "chair_i: made for English" in warnings_of(ARABIC, "chair_i")[0]
    assert "chair_i: made for English" in warnings_of(CHINESE, "chair_i", tokenizer="char")[0]
    assert warnings_of(["a dog", "two cats"], "chair_i", "rouge") == []
