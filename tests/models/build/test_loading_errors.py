"""Invalid model folders are refused with what is wrong, where, and the fix."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from captune.errors import ModelError
from captune.models import (
    FAMILIES,
    build_captioner,
    build_size,
    check_sources,
    load_captioner,
    load_tokenizer,
)
from captune.recipe import ModelConfig
from support.models.tiny_models import build, tokenizer


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    build("vit-bert-tiny").save(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """Return a copy to break."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


def refusal(folder: Path, **settings: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        load_captioner(folder, where="model.checkpoint", **settings)
    assert caught.value.where in ("model.checkpoint", "model.tokenizer")
    assert caught.value.fix
    return caught.value


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(config | changes), encoding="utf-8")


def edit_weights(folder: Path, change: Any) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "gone").what == f"model folder '{tmp_path}/gone' does not exist"


def test_a_folder_without_config_is_refused(folder: Path) -> None:
    (folder / "config.json").unlink()
    assert refusal(folder).what == f"'{folder}' has no config.json"


def test_a_folder_without_weights_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert refusal(folder).what == f"model folder '{folder}' has no weights (*.safetensors)"


def test_a_family_that_captune_does_not_support_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    error = refusal(folder)
    assert error.what == f"'{folder}' is a 'llama' model, a family that captune does not support"
    assert error.fix == f"use a model of one of these types: {', '.join(FAMILIES)}"
    assert "blip, git, vision-encoder-decoder" in error.fix


def test_an_unknown_family_is_named_before_any_work(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError) as caught:
        check_sources(ModelConfig(checkpoint=str(folder)))
    assert caught.value.what.endswith("is a 'llama' model, a family that captune does not support")
    assert caught.value.where == "model.checkpoint"


def test_a_model_type_unknown_to_transformers_is_refused(folder: Path) -> None:
    edit_config(folder, model_type="nonsense")
    assert "model type `nonsense`" in refusal(folder).what


def test_an_unknown_size_is_refused_before_a_tokenizer_is_trained() -> None:
    with pytest.raises(ModelError) as caught:
        build_captioner(ModelConfig(size="blip-tinny"), captions=())
    assert caught.value.what == "unknown model size 'blip-tinny' (did you mean 'blip-tiny'?)"
    assert caught.value.where == "model.size"
    assert "blip-tiny, blip-base, blip-large, git-tiny" in caught.value.fix


def test_an_image_size_that_is_not_a_multiple_of_the_patches_is_refused() -> None:
    with pytest.raises(ModelError) as caught:
        build_size("blip-tiny", tokenizer(), image_size=100)
    assert "100 is not a multiple of its 16-pixel patches" in caught.value.what
    assert caught.value.fix == "use 96 or 112"


def test_a_damaged_safetensors_file_is_reported(folder: Path) -> None:
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:100], b"", b"<html>404</html>"):
        path.write_bytes(damaged)
        error = refusal(folder)
        assert error.what.startswith(f"the weights of '{folder}' are damaged: ")
        assert error.fix == "copy or download model.safetensors again"


class Harmful:
    """An object whose pickle calls a function."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch harmed",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_a_pickle_with_code_is_refused_and_not_run(
    writer: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "model.safetensors").unlink()
    path = folder / "pytorch_model.bin"
    if writer == "torch":
        torch.save({"weight": Harmful()}, path)
    else:
        path.write_bytes(pickle.dumps({"weight": Harmful()}))
    error = refusal(folder)
    assert error.what == (
        f"the weights of '{folder}' are a pickle with more than tensors in it; it was not run"
    )
    assert "model.safetensors" in error.fix
    assert not (folder / "harmed").exists()


def test_garbage_in_place_of_a_pickle_is_reported(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"abc")
    assert refusal(folder).what.startswith(f"cannot load '{folder}': ")


def test_missing_weights_are_named_and_never_replaced_by_random_ones(folder: Path) -> None:
    def lose(weights: dict[str, Any]) -> None:
        for layer in (0, 1):
            for name in ("weight", "bias"):
                del weights[f"decoder.bert.encoder.layer.{layer}.crossattention.self.key.{name}"]

    edit_weights(folder, lose)
    error = refusal(folder)
    assert error.what == (
        f"the weights of '{folder}' lack"
        " decoder.bert.encoder.layer.0.crossattention.self.key.bias,"
        " decoder.bert.encoder.layer.0.crossattention.self.key.weight,"
        " decoder.bert.encoder.layer.1.crossattention.self.key.bias and 1 more"
    )
    assert error.fix == "use the complete checkpoint; captune does not continue with random weights"


def test_weights_of_another_shape_are_named(folder: Path) -> None:
    def widen(weights: dict[str, Any]) -> None:
        weights["encoder.layernorm.weight"] = torch.ones(64)

    edit_weights(folder, widen)
    assert refusal(folder).what == (
        f"the weights of '{folder}' do not fit its config.json: encoder.layernorm.weight is"
        " (64,), the config needs (128,)"
    )


def test_weights_that_the_model_does_not_use_are_reported_in_one_line(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    edit_weights(folder, lambda weights: weights.update({"decoder.extra.weight": torch.ones(2)}))
    load_captioner(folder)
    assert [r.getMessage() for r in caplog.records if r.name.startswith("captune")] == [
        f"{folder}: decoder.extra.weight not used by this model"
    ]


def test_old_buffers_and_poolers_raise_no_warning(
    folder: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    def age(weights: dict[str, Any]) -> None:
        weights["decoder.bert.embeddings.position_ids"] = torch.arange(4)[None]
        del weights["encoder.pooler.dense.weight"]
        del weights["encoder.pooler.dense.bias"]

    edit_weights(folder, age)
    load_captioner(folder)
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


def test_the_folder_of_a_run_in_place_of_a_tokenizer_points_to_its_model(
    folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run-with-model"
    shutil.copytree(folder, run / "model")
    with pytest.raises(ModelError, match="has no tokenizer") as caught:
        load_tokenizer(str(run), where="--tokenizer")
    assert caught.value.fix == f"give the folder of the run's model, {run / 'model'}"


@pytest.mark.parametrize("leftover", [None, "tokenizer.json"])
def test_a_folder_without_a_vocabulary_is_refused(folder: Path, leftover: str | None) -> None:
    # For an empty vocabulary, transformers creates a tokenizer of five special tokens.
    for file in folder.glob("tokenizer*"):
        file.unlink()
    if leftover is not None:
        tokenizer_of_specials(folder)
    error = refusal(folder)
    assert error.what == (
        f"'{folder}' has no tokenizer (tokenizer.json, vocab.txt, or vocab.json and merges.txt)"
    )
    assert error.fix == "copy the tokenizer's files into it, or set model.tokenizer"


def tokenizer_of_specials(folder: Path) -> None:
    from transformers import BertTokenizer

    BertTokenizer().save_pretrained(folder)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("tokenizer.json", b"", "is not JSON"),
        ("tokenizer.json", b"[]", "is not a JSON object"),
        ("tokenizer_config.json", b"\xff\xfe{", "is not JSON"),
        ("tokenizer_config.json", b"[]", "is not a JSON object"),
    ],
)
def test_a_damaged_file_of_a_tokenizer_is_named(
    folder: Path, name: str, content: bytes, words: str
) -> None:
    (folder / name).write_bytes(content)
    assert refusal(folder).what.startswith(f"{folder / name} {words}")


def test_a_tokenizer_that_lacks_its_parts_is_named_as_the_cause(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    assert refusal(folder).what.endswith("(while reading its tokenizer)")


def test_a_tokenizer_from_another_folder_can_be_used(folder: Path, saved: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()
    captioner = load_captioner(folder, tokenizer=str(saved))
    assert len(captioner.tokenizer) == len(tokenizer())


def test_a_tokenizer_larger_than_the_model_is_refused(folder: Path, tmp_path: Path) -> None:
    larger = tokenizer()
    larger.add_tokens(["zebra", "okapi"])
    larger.save_pretrained(tmp_path / "words")
    size = len(tokenizer())
    assert refusal(folder, tokenizer=str(tmp_path / "words")).what == (
        f"the tokenizer has {size + 2} tokens, the model '{folder}' only {size}"
    )


def test_a_folder_without_an_image_processor_is_refused(folder: Path) -> None:
    (folder / "processor_config.json").unlink()
    (folder / "preprocessor_config.json").unlink()
    error = refusal(folder)
    assert error.what.startswith(f"cannot load '{folder}': Can't load image processor")


@pytest.mark.parametrize(
    ("token", "word"), [("cls_token", "start"), ("sep_token", "end"), ("both", "start")]
)
@pytest.mark.parametrize("size", ["git-tiny", "vit-gpt2-tiny"])
def test_a_tokenizer_without_start_or_end_is_refused(size: str, token: str, word: str) -> None:
    words = tokenizer()
    words.bos_token = None
    for name in ("cls_token", "sep_token") if token == "both" else (token,):
        setattr(words, name, None)
    with pytest.raises(ModelError) as caught:
        build_size(size, words)
    assert caught.value.what == f"the tokenizer has no {word} token"
    assert caught.value.where == "model.tokenizer"


def test_a_model_without_special_ids_is_refused(folder: Path) -> None:
    captioner = load_captioner(folder)
    model = captioner.model
    for config in (model.config, model.config.decoder, model.generation_config):
        config.eos_token_id = None
    with pytest.raises(ModelError) as caught:
        _ = captioner.eos_token_id
    assert caught.value.what == "the model has no eos_token_id"
    assert caught.value.fix == "set eos_token_id in the model's config.json"


def test_remote_code_is_never_run(folder: Path) -> None:
    (folder / "evil.py").write_text("open('ran', 'w')\n", encoding="utf-8")
    edit_config(folder, model_type="unknown-type", auto_map={"AutoConfig": "evil.Config"})
    refusal(folder)
    assert not Path("ran").exists()
