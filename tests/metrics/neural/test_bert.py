"""BERTScore by tiny random models, against the library's figures and values by hand."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, BertModel, RobertaConfig, RobertaModel

from captune.errors import MissingExtraError, ModelError
from captune.metrics.counting.candidates import match_predictions
from captune.metrics.counting.references import References
from captune.metrics.neural.bert import BertScorer, find_published, score_bert
from support.models.tiny_bert import save_bert

pytest.importorskip("bert_score", reason="the extra bert_score is not installed")

REFERENCES = {
    "1": ["a red dog runs on the grass", "the dog runs"],
    "2": ["two cats sit", "small cats sit on a ball", "two small cats"],
    "3": ["a bird runs on the beach"],
}
PREDICTIONS = {"1": "a dog runs on the beach", "2": "two red cats", "3": "a ball"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bert(tmp_path_factory.mktemp("bert") / "tiny", layers=2)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a random model under a name with a published baseline; 9 of its 10 layers are used."""
    return save_bert(tmp_path_factory.mktemp("bert") / "bert-base-uncased", layers=10)


def score(
    scorer: BertScorer,
    predictions: dict[str, str] = PREDICTIONS,
    references: dict[str, list[str]] = REFERENCES,
) -> dict[str, np.ndarray]:
    columns = score_bert(match_predictions(References(references), predictions), scorer)
    return {name: column.per_image for name, column in columns.items()}


def score_by_library(
    scorer: BertScorer, source: Path, *, baseline: Path | None = None
) -> np.ndarray:
    """Score one pair at a time: padding in a batch raises the library's negative cosines to 0."""
    from bert_score import BERTScorer

    library = BERTScorer(
        model_type=str(source),
        num_layers=scorer.num_layers,
        lang="en",
        device="cpu",
        rescale_with_baseline=baseline is not None,
        baseline_path=None if baseline is None else str(baseline),
    )
    # Without a length in its files, the library's call overflows and omits the space before
    # RoBERTa's first word.
    library._tokenizer = scorer.tokenizer
    best = [
        max(library.score([PREDICTIONS[i]], [text])[2].item() for text in own)
        for i, own in REFERENCES.items()
    ]
    return np.array(best)


def test_the_raw_score_equals_the_librarys(folder: Path) -> None:
    scorer = BertScorer.load(folder)
    np.testing.assert_allclose(
        score(scorer)["bert_score_raw"], score_by_library(scorer, folder), atol=1e-6
    )


def test_a_known_name_sets_its_layer_and_its_baseline(published: Path) -> None:
    import bert_score

    scorer = BertScorer.load(published)
    assert scorer.num_layers == 9
    table = Path(bert_score.__file__).parent / "rescale_baseline" / "en" / "bert-base-uncased.tsv"
    expected = score_by_library(scorer, published, baseline=table)
    columns = score(scorer)
    assert list(columns) == ["bert_score", "bert_score_raw"]
    np.testing.assert_allclose(columns["bert_score"], expected, atol=2e-6)
    np.testing.assert_allclose(
        columns["bert_score_raw"], score_by_library(scorer, published), atol=1e-6
    )


def test_a_model_without_a_baseline_gives_only_the_raw_figure(folder: Path) -> None:
    scorer = BertScorer.load(folder)
    assert scorer.baseline is None
    columns = score_bert(match_predictions(References(REFERENCES), PREDICTIONS), scorer)
    assert list(columns) == ["bert_score_raw"]
    assert columns["bert_score_raw"].variant.startswith("model:tiny|layers:2|idf:no|multi:max|")
    assert columns["bert_score_raw"].variant.endswith("|baseline:no")


def test_scores_follow_the_formula_of_the_paper(folder: Path) -> None:
    tokenizer, model = AutoTokenizer.from_pretrained(folder), BertModel.from_pretrained(folder)

    def embed(caption: str) -> np.ndarray:
        with torch.inference_mode():
            rows = model(**tokenizer(caption, return_tensors="pt")).last_hidden_state[0].numpy()
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    for image_id, caption in PREDICTIONS.items():
        best = 0.0
        for reference in REFERENCES[image_id]:
            cosines = embed(caption) @ embed(reference).T
            # Each word is matched to its best partner; [CLS] and [SEP] are partners but not words.
            precision = np.mean([max(row) for row in cosines[1:-1]])
            recall = np.mean([max(column) for column in cosines.T[1:-1]])
            best = max(best, 2 * precision * recall / (precision + recall))
        own = score(BertScorer.load(folder))["bert_score_raw"]
        assert own[int(image_id) - 1] == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("caption", ["", "  ", "\x00"])
def test_a_caption_without_words_scores_0_in_both_figures(published: Path, caption: str) -> None:
    scorer = BertScorer.load(published)
    columns = score(scorer, {**PREDICTIONS, "2": caption})
    assert columns["bert_score"][1] == columns["bert_score_raw"][1] == 0.0
    full = score(scorer)
    np.testing.assert_allclose(columns["bert_score"][[0, 2]], full["bert_score"][[0, 2]])


def test_a_reference_without_words_does_not_count(folder: Path) -> None:
    scorer = BertScorer.load(folder)
    more = {**REFERENCES, "1": [*REFERENCES["1"], ""], "3": [""]}
    with_empty, plain = score(scorer, references=more), score(scorer)
    assert with_empty["bert_score_raw"][0] == plain["bert_score_raw"][0]
    assert with_empty["bert_score_raw"][2] == 0.0


def test_batches_and_blocks_do_not_change_scores(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("captune.metrics.neural.bert.BLOCK_PAIRS", 2)
    small = score(BertScorer.load(folder, batch_size=1))["bert_score_raw"]
    monkeypatch.undo()
    whole = score(BertScorer.load(folder, batch_size=64))["bert_score_raw"]
    np.testing.assert_allclose(small, whole, atol=1e-6)


def test_captions_beyond_the_models_length_are_truncated(folder: Path) -> None:
    scorer = BertScorer.load(folder)
    assert scorer.tokenizer.model_max_length == 16
    long = score(scorer, {**PREDICTIONS, "1": "dog " * 10_000})["bert_score_raw"]
    cut = score(scorer, {**PREDICTIONS, "1": "dog " * 14})["bert_score_raw"]
    np.testing.assert_allclose(long, cut, atol=1e-6)


def test_roberta_reads_its_first_word_like_the_others(tmp_path: Path) -> None:
    letters = [*"abcdefghijklmnopqrstuvwxyz", "\u0120", "\u0120dog"]
    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *letters, "do", "dog"]
    rows = {name: place for place, name in enumerate(names)}
    from transformers import RobertaTokenizer

    merges = [("d", "o"), ("do", "g"), ("\u0120", "dog")]
    RobertaTokenizer(vocab=rows, merges=merges).save_pretrained(tmp_path)
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 32}
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=len(rows), num_hidden_layers=1, max_position_embeddings=20, **sizes
    )
    RobertaModel(config).save_pretrained(tmp_path)
    scorer = BertScorer.load(tmp_path)
    assert scorer.tokenizer("dog dog")["input_ids"] == [0, rows["\u0120dog"], rows["\u0120dog"], 2]
    # RoBERTa's positions start after that of padding: 18 of 20 remain for tokens.
    assert scorer.tokenizer.model_max_length == 18
    references = {"1": ["dog cat"], "2": ["bird"], "3": ["a"]}
    assert np.isfinite(score(scorer, references=references)["bert_score_raw"]).all()


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("roberta-large", "roberta-large"),
        ("FacebookAI/roberta-large", "roberta-large"),
        ("/models/roberta-large", "roberta-large"),
        ("/models/microsoft/deberta-base", "microsoft/deberta-base"),
        ("/models/roberta-mine", ""),
    ],
)
def test_models_are_recognized_by_id_or_folder(source: str, name: str) -> None:
    assert find_published(source, known={"roberta-large": 17, "microsoft/deberta-base": 9}) == name


def test_a_source_that_is_not_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be loaded for BERTScore"):
        BertScorer.load(tmp_path)


def test_the_error_for_a_missing_extra_has_the_pip_command(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("captune.metrics.neural.bert.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="needs the package bert_score") as caught:
        BertScorer.load(folder)
    assert caught.value.fix == "pip install 'captune[bert_score]'"


@pytest.mark.slow
def test_scores_are_the_same_in_every_process(folder: Path) -> None:
    code = (
        "import sys; from captune.metrics.neural.bert import *\n"
        "from captune.metrics.counting.candidates import match_predictions\n"
        "from captune.metrics.counting.references import References\n"
        f"candidates = match_predictions(References({REFERENCES!r}), {PREDICTIONS!r})\n"
        "columns = score_bert(candidates, BertScorer.load(sys.argv[1], batch_size=2))\n"
        "print(columns['bert_score_raw'].per_image.tolist())"
    )
    here = score(BertScorer.load(folder, batch_size=2))["bert_score_raw"].tolist()
    there = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        capture_output=True,
        text=True,
        check=True,
        env={
            **os.environ,
            "PYTHONHASHSEED": "123",
            "OMP_NUM_THREADS": str(torch.get_num_threads()),
        },
    )
    assert ast.literal_eval(there.stdout) == here
