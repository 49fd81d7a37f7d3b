"""Document frequencies: counted, given, saved, and read from published pickles."""

from __future__ import annotations

import io
import math
import pickle
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from captune.errors import CHECK_PATH, MetricError
from captune.metrics import DocumentFrequencies, References, compute, self_cider

COUNTS = {("a",): 3, ("a", "dog"): 2, ("dog",): 2, ("a", "red", "dog"): 1, ("x",) * 5: 4}


def weights_of(frequencies: DocumentFrequencies, captions: list[str]) -> dict[str, float]:
    references = References({str(i): [caption] for i, caption in enumerate(captions)})
    ngrams = [table.ngrams for table in references.tables]
    weights = list(frequencies.weigh(ngrams, references.vocabulary))
    words = list(references.vocabulary)
    found = dict(zip(words, weights[0].tolist(), strict=True))
    keys, base = references.tables[1].ngrams.keys.tolist(), references.tables[1].ngrams.base
    pairs = [f"{words[key // base]} {words[key % base]}" for key in keys]
    return found | dict(zip(pairs, weights[1].tolist(), strict=True))


def test_weights_are_logarithms_of_inverse_frequencies() -> None:
    frequencies = DocumentFrequencies.of_ngrams(COUNTS, num_documents=4, name="given")
    weights = weights_of(frequencies, ["a dog", "red cat"])
    expected = {
        "a": math.log(4) - math.log(3),
        "dog": math.log(4) - math.log(2),
        "a dog": math.log(4) - math.log(2),
        "red": math.log(4),
        "cat": math.log(4),
        "red cat": math.log(4),
    }
    assert weights == pytest.approx(expected, abs=1e-15)


def test_an_ngram_whose_prefix_is_not_listed_is_found() -> None:
    frequencies = DocumentFrequencies.of_ngrams({("b", "c"): 2}, num_documents=4, name="given")
    weights = weights_of(frequencies, ["b c"])
    assert weights["b c"] == pytest.approx(math.log(2), abs=1e-15)
    assert weights["b"] == pytest.approx(math.log(4), abs=1e-15)


def test_saved_frequencies_score_the_same(tmp_path: Path) -> None:
    training = References({"1": ["a red dog runs"], "2": ["a blue cat"], "3": ["a dog"]})
    training.frequencies.save(tmp_path / "df.npz")
    read = DocumentFrequencies.read(tmp_path / "df.npz")
    case = {"9": ["a red dog", "the dog runs"]}, {"9": "a dog runs"}
    kept, fresh = (
        compute(*case, metrics=["cider"], frequencies=f) for f in (read, training.frequencies)
    )
    assert kept.corpus["cider"] == fresh.corpus["cider"] > 0
    assert "df:df.npz" in kept.signatures["cider"]


def test_frequencies_of_another_tokenizer_are_an_error(tmp_path: Path) -> None:
    captions = {"1": ["狗在草地上"], "2": ["猫在沙发上"]}
    References(captions, tokenizer="char").frequencies.save(tmp_path / "df.npz")
    read = DocumentFrequencies.read(tmp_path / "df.npz")
    case = References({"9": ["狗在沙发上"]}, tokenizer="zh"), {"9": "狗在沙发上"}
    with pytest.raises(
        MetricError, match=r"with the tokenizer char, and .* split with zh"
    ) as caught:
        compute(*case, metrics=["cider"], frequencies=read)
    assert caught.value.where == "df.npz"
    assert caught.value.fix.startswith("use --tokenize char, or count the frequencies again")
    with pytest.raises(MetricError, match=r"with the tokenizer char, and .* with pycocoevalcap"):
        self_cider({"9": ["狗", "猫"]}, read)
    same = References({"9": ["狗在沙发上"]}, tokenizer="char")
    assert compute(same, case[1], metrics=["cider"], frequencies=read).corpus["cider"] > 0


def test_older_files_that_do_not_name_a_tokenizer_are_read(tmp_path: Path) -> None:
    References({"1": ["a dog"], "2": ["a cat"]}).frequencies.save(tmp_path / "new.npz")
    with np.load(tmp_path / "new.npz") as arrays:
        older = {name: arrays[name] for name in arrays.files if name != "tokenizer"}
    np.savez(tmp_path / "df.npz", **older)
    read = DocumentFrequencies.read(tmp_path / "df.npz")
    assert read.tokenizer == ""
    references = References({"9": ["a dog"]}, tokenizer="char")
    assert compute(references, {"9": "a dog"}, metrics=["cider"], frequencies=read).image_ids


@pytest.mark.parametrize("words", ["5", "[[]]", "[" * 50_000])
def test_an_archive_with_other_content_is_named(tmp_path: Path, words: str) -> None:
    np.savez(tmp_path / "df.npz", words=np.frombuffer(words.encode(), np.uint8), documents=[])
    with pytest.raises(MetricError, match=r"df\.npz does not contain document frequencies"):
        DocumentFrequencies.read(tmp_path / "df.npz")


@pytest.mark.parametrize("content", [[], {("a",): 10**400}])
def test_a_pickle_with_other_content_is_named(tmp_path: Path, content: object) -> None:
    (tmp_path / "df.p").write_bytes(pickle.dumps({"document_frequency": content, "ref_len": 4}))
    with pytest.raises(MetricError, match=r"df\.p does not contain document frequencies"):
        DocumentFrequencies.read(tmp_path / "df.p")


def test_published_pickles_are_read(tmp_path: Path) -> None:
    counts: defaultdict[tuple[str, ...], float] = defaultdict(float, COUNTS)
    path = tmp_path / "coco-val-df.p"
    path.write_bytes(pickle.dumps({"document_frequency": counts, "ref_len": 4.0}))
    weights = weights_of(DocumentFrequencies.read(path), ["a dog"])
    assert weights["a dog"] == pytest.approx(math.log(2), abs=1e-15)


class Hostile:
    """An object that runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("hostile-was-here"),)


def test_a_pickle_that_would_run_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "df.p"
    path.write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(MetricError, match="which is not allowed"):
        DocumentFrequencies.read(path)
    assert not (tmp_path / "hostile-was-here").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"PK\x03\x04 broken", b"not a pickle", pickle.dumps({"other": 1}), pickle.dumps([1])],
)
def test_other_files_are_refused_and_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "df.bin"
    path.write_bytes(content)
    with pytest.raises(MetricError, match=r"df\.bin does not contain document frequencies"):
        DocumentFrequencies.read(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MetricError, match=r"none\.p cannot be read") as caught:
        DocumentFrequencies.read(tmp_path / "none.p")
    assert caught.value.fix == CHECK_PATH
    with pytest.raises(MetricError, match="is a folder, not a regular file"):
        DocumentFrequencies.read(tmp_path)


def test_text_of_python_2_pickles_is_decoded(tmp_path: Path) -> None:
    # Protocol 0 as Python 2 wrote it: text as byte strings.
    written = io.BytesIO()
    written.write(b"(dp0\nS'document_frequency'\np1\n(dp2\n(S'dog'\np3\ntp4\nF2.0\nssS'ref_len'\n")
    written.write(b"p5\nF4.0\ns.")
    path = tmp_path / "old.p"
    path.write_bytes(written.getvalue())
    weights = weights_of(DocumentFrequencies.read(path), ["dog"])
    assert weights["dog"] == pytest.approx(math.log(2), abs=1e-15)
