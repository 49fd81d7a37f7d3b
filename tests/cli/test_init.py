"""`captune init`: a plain model folder; existing files are kept."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file

from captune.cli import main

SHAPES = ["--train-tokenizer", "shapes:10"]


def init(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["init", *words])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_a_new_model_opens_in_plain_transformers_and_the_training_command_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoModelForImageTextToText, AutoTokenizer

    out = tmp_path / "model"
    assert init("blip-tiny", str(out), *SHAPES, "--image-size", "32") == 0
    model = AutoModelForImageTextToText.from_pretrained(out)
    assert model.config.vision_config.image_size == 32
    assert AutoTokenizer.from_pretrained(out).convert_tokens_to_ids("[DEC]") > 0
    assert f"--set model.checkpoint={out}" in capsys.readouterr().out


def test_a_printed_command_quotes_a_path_with_spaces(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "my model's folder"
    assert init("git-tiny", str(out), *SHAPES) == 0
    command = capsys.readouterr().out.partition("train it: ")[2]
    assert shlex.split(command)[-1] == f"model.checkpoint={out}"


def test_the_seed_decides_the_weights(tmp_path: Path) -> None:
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert init("git-tiny", str(tmp_path / name), *SHAPES, "--seed", seed) == 0
    a, b, c = (load_file(tmp_path / name / "model.safetensors") for name in "abc")
    assert all(a[key].equal(b[key]) for key in a)
    assert not all(a[key].equal(c[key]) for key in a)


def test_the_tokenizer_of_a_model_folder_can_be_used_for_another_model(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    words = ["--tokenizer-kind", "word", "--vocab-size", "50"]
    assert init("blip-tiny", str(first), *SHAPES, *words) == 0
    assert init("blip-tiny", str(second), "--tokenizer", str(first)) == 0
    weights = [load_file(folder / "model.safetensors") for folder in (first, second)]
    name = "text_decoder.bert.embeddings.word_embeddings.weight"
    assert weights[0][name].shape == weights[1][name].shape
    assert len(weights[0][name]) <= 50


def test_a_folder_with_files_is_left_alone_without_force(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert init("blip-tiny", str(tmp_path), *SHAPES) == 2
    assert "--force" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    assert init("blip-tiny", str(tmp_path), *SHAPES, "--force") == 0
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["blip-tiny"], "give either --tokenizer DIR or --train-tokenizer DATA"),
        (["blip-tiny", "--tokenizer", "x", *SHAPES], "needs one tokenizer"),
        (["blip-huge", *SHAPES], "unknown model size 'blip-huge'"),
        (["blip-tiny", "--train-tokenizer", "/no/such"], "no such file or folder: /no/such"),
        (["blip-tiny", "--tokenizer", "/no/such"], "'/no/such' does not exist"),
    ],
)
def test_invalid_arguments_exit_2_and_write_nothing(
    words: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model"
    assert init(words[0], str(out), *words[1:]) == 2
    assert expected in capsys.readouterr().err
    assert not out.exists()


def test_a_file_in_place_of_the_folder_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "file"
    path.write_text("")
    assert init("blip-tiny", str(path), *SHAPES) == 2
    assert "is a file" in capsys.readouterr().err


def test_the_data_set_is_read_with_the_reading_flags(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_data(tmp_path / "data", [("a", "a red dog"), ("b", "a red dog"), ("c", "blue")])
    table = tmp_path / "elsewhere" / "rows.csv"
    table.parent.mkdir()
    rows = ["picture,words,kind", *(f"{data}/{n}.png,a red dog,x" for n in "ab")]
    table.write_text("\n".join([*rows, f"{data}/c.png,two blue cats,y"]))
    columns = ["--image-column", "picture", "--caption-column", "words", "--filter", "kind=x"]
    words = ["--train-tokenizer", str(table), "--tokenizer-kind", "word", *columns]
    assert init("blip-tiny", str(tmp_path / "model"), *words) == 2
    assert "--allow-outside" in capsys.readouterr().err
    assert init("blip-tiny", str(tmp_path / "model"), *words, "--allow-outside") == 0
    vocabulary = (tmp_path / "model" / "tokenizer.json").read_text()
    assert '"dog"' in vocabulary
    assert '"cats"' not in vocabulary


CHINESE = [("a", "一个男人站在船旁边"), ("b", "两只狗在草地上奔跑")]


def make_data(folder: Path, captions: list[tuple[str, str]]) -> Path:
    """Save drawn images with a text file beside each."""
    folder.mkdir()
    for name, caption in captions:
        Image.new("RGB", (40, 40), (200, 90, 50)).save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(caption, encoding="utf-8")
    return folder


def test_word_tokens_of_a_script_without_spaces_are_refused_and_byte_pairs_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--train-tokenizer", str(make_data(tmp_path / "data", CHINESE))]
    out = str(tmp_path / "model")
    assert init("blip-tiny", out, *data, "--tokenizer-kind", "word") == 2
    error = capsys.readouterr().err
    assert "the captions are Chinese, written without spaces between words" in error
    assert "use bpe" in error
    assert init("blip-tiny", out, *data) == 0


def test_captions_that_the_new_tokenizer_cannot_write_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Each word occurs once, and a word must occur twice to be known.
    data = make_data(tmp_path / "data", [("a", "a dog runs"), ("b", "two cats sleep")])
    words = ["--train-tokenizer", str(data), "--tokenizer-kind", "word"]
    assert init("blip-tiny", str(tmp_path / "model"), *words) == 2
    error = capsys.readouterr().err
    assert "the tokenizer changes or does not know 100.0 % of the captions" in error
    assert not (tmp_path / "model").exists()
