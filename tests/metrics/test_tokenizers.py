"""Tokenizers other than pycocoevalcap's: their words, and their use in every metric."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, get_args

import pytest
import sacrebleu

from captune.errors import MetricError
from captune.metrics import (
    TOKENIZERS,
    References,
    TokenizerName,
    compute,
    constant_caption_baseline,
    measure_copied_share,
    measure_samples,
    require_tokenizer,
    tokenize_with,
)
from captune.metrics.counting.candidates import match_predictions
from captune.recipe import EvaluateConfig

CHINESE = {
    "1": ["一个穿红色衣服的男人站在船旁边", "一名男子站在灰色的小船边上。"],
    "2": ["两只狗在草地上奔跑", "草地上有两只棕色的狗，跑"],
    "3": ["桌子上放着一杯咖啡和一本书", "一杯 咖啡 A cup, 放在木桌上!"],
}
SAID = {"1": "一个男人站在小船旁边", "2": "两只棕色的狗在草地上跑", "3": "桌子上有一杯咖啡"}
COUNTED = ["bleu", "rouge_l", "cider", "diversity", "sacrebleu", "wer"]


def spaced(text: str) -> str:
    return " ".join(text.replace(" ", ""))


def test_characters_score_like_the_default_with_spaces_between_them() -> None:
    references = References(CHINESE, tokenizer="char")
    by_blanks = {key: [spaced(text) for text in own] for key, own in CHINESE.items()}
    own = compute(references, SAID, metrics=COUNTED)
    other = compute(by_blanks, {key: spaced(text) for key, text in SAID.items()}, metrics=COUNTED)
    assert own.corpus["bleu_4"] > 0.4
    for name in ("bleu_1", "bleu_4", "rouge_l", "cider", "mean_length"):
        assert own.corpus[name] == other.corpus[name], name


@pytest.mark.parametrize("tokenizer", ["char", "zh", "ja-mecab"])
def test_packed_words_are_those_of_the_plain_tokenizer(tokenizer: TokenizerName) -> None:
    references = References(CHINESE, tokenizer=tokenizer)
    candidates = match_predictions(references, SAID)
    texts = [text for own in CHINESE.values() for text in own]
    assert references.tokens == tokenize_with(texts, tokenizer)
    assert candidates.tokens == tokenize_with(list(SAID.values()), tokenizer)


def test_words_are_those_of_sacrebleu_in_lower_case_without_punctuation() -> None:
    text = "一杯咖啡 A cup, 1.5米!"
    assert tokenize_with([text], "char")[0] == list("一杯咖啡acup15米")
    assert tokenize_with([text], "zh")[0] == ["一", "杯", "咖", "啡", "a", "cup", "1.5", "米"]
    japanese = tokenize_with(["猫が窓辺で寝ている。"], "ja-mecab")[0]
    assert japanese == ["猫", "が", "窓辺", "で", "寝", "て", "いる", "。"]


def test_the_same_characters_are_dropped_as_by_the_default() -> None:
    common = ".?!,:;-'\"`…—–“”‘’«»、。，！？（）：；〈〉《》「」『』【】〔〕·～"
    for mark in common:
        by_default, by_char = tokenize_with([f"猫 {mark} 犬"], "pycocoevalcap"), [f"猫{mark}犬"]
        assert len(by_default[0]) == len(tokenize_with(by_char, "char")[0]), mark


def test_sacrebleu_uses_the_tokenizer_of_the_same_name() -> None:
    references = {key: own[:1] for key, own in CHINESE.items()}
    own = compute(References(references, tokenizer="zh"), SAID, metrics=["sacrebleu"])
    human = [[own[0] for own in references.values()]]
    bleu = sacrebleu.BLEU(lowercase=True, tokenize="zh").corpus_score([*SAID.values()], human)
    assert own.corpus["sacrebleu"] == pytest.approx(bleu.score, abs=1e-9)
    assert "|tok:zh|" in own.signatures["sacrebleu"]


def test_rouge_and_word_errors_count_the_words_of_the_chosen_tokenizer() -> None:
    references = References({"1": ["猫が寝る"], "2": ["一只狗"]}, tokenizer="char")
    results = compute(references, {"1": "猫が寝た", "2": "一只狗"}, metrics=["rouge1", "wer"])
    # Three of four characters match: P = R = F = 3/4; one of four is replaced.
    assert results.per_image["rouge1"].tolist() == [0.75, 1.0]
    assert results.per_image["wer"].tolist() == [0.25, 0.0]
    assert "|stem:none|tok:char|" in results.signatures["rouge1"]
    assert "|tok:char|" in results.signatures["wer"]


@pytest.mark.parametrize(
    ("tokenizer", "text"), [("char", "tok:char|"), ("zh", "tok:zh-sacrebleu-"), ("", "tok:ptb")]
)
def test_the_signature_names_the_tokenizer(tokenizer: Any, text: str) -> None:
    references = References({"1": ["a dog"]}, tokenizer=tokenizer or "pycocoevalcap")
    assert text in compute(references, {"1": "a dog"}, metrics=["bleu_1"]).signatures["bleu_1"]


def test_saved_references_keep_their_tokenizer_and_have_their_own_file(tmp_path: Path) -> None:
    first = References(CHINESE, tokenizer="char")
    path = first.save(tmp_path)
    loaded = References.load(path)
    assert loaded.tokenizer == "char"
    assert loaded.tokens == first.tokens
    assert References(CHINESE).save(tmp_path) != path
    assert References.cached(CHINESE, tmp_path, tokenizer="char").tokens == first.tokens
    assert References.cached(CHINESE, tmp_path).tokens == References(CHINESE).tokens


def test_constant_captions_copies_and_samples_use_the_same_tokenizer() -> None:
    training = {"1": ["一只狗跑"], "2": ["一只狗跑"], "3": ["两只猫"]}
    assert constant_caption_baseline(training, tokenizer="char") == "一只狗跑"
    copied = measure_copied_share({"1": "一只 狗跑"}, ["一只狗跑"], tokenizer="char")
    assert copied == 1.0
    samples = measure_samples({"1": ["一只狗", "一只猫"]}, tokenizer="char")
    # 一 只 狗 猫: four different characters of six.
    assert samples.div_1 == pytest.approx(4 / 6, abs=1e-6)


def test_samples_use_the_tokenizer_of_the_references() -> None:
    from captune.metrics import MetricInputs

    inputs = MetricInputs(samples={"1": ["一只狗", "一只猫"]})
    references = References({"1": ["一只狗"]}, tokenizer="char")
    with warnings.catch_warnings(action="ignore"):
        results = compute(references, {"1": "一只狗"}, metrics=["samples"], inputs=inputs)
    assert results.corpus["div_1"] == pytest.approx(4 / 6, abs=1e-6)


def test_the_error_for_an_unknown_tokenizer_lists_all() -> None:
    with pytest.raises(MetricError, match=r"unknown tokenizer 'ja_mecab' \(did you mean") as caught:
        require_tokenizer("ja_mecab")
    assert caught.value.fix == "use one of pycocoevalcap, char, zh, ja-mecab"
    with pytest.raises(MetricError, match="unknown tokenizer 'words'"):
        References({"1": ["a dog"]}, tokenizer="words")  # type: ignore[arg-type]


def test_recipes_and_the_table_name_the_same_tokenizers() -> None:
    assert get_args(EvaluateConfig.model_fields["tokenize"].annotation) == TOKENIZERS
