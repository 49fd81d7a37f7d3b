"""Model files with invalid values are refused with file, key, value and range."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

import captune
from captune.errors import CaptuneError, ModelError
from captune.models import build_captioner, load_captioner
from captune.recipe import ModelConfig
from support.models.mutations import mutate
from support.models.tiny_models import build, images, tiny_encoder
from support.soak import FIRST_SEED, rounds, soak

SIZES = ("blip-tiny", "git-tiny", "vit-gpt2-tiny", "mobilenet-gpt2-tiny")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {name: tmp_path_factory.mktemp(name) for name in SIZES}
    for name, folder in folders.items():
        build(name).save(folder)
    return folders


def edit(folder: Path, file: str, keys: str, value: Any) -> None:
    """Write a value to a dotted key of one of the folder's JSON files."""
    path = folder / file
    content = json.loads(path.read_text(encoding="utf-8"))
    *holders, last = keys.split(".")
    inner = content
    for key in holders:
        inner = inner[key]
    inner[last] = value
    path.write_text(json.dumps(content), encoding="utf-8")


def refusal(folder: Path) -> ModelError:
    with pytest.raises(ModelError) as caught:
        load_captioner(folder)
    assert caught.value.exit_code == 2
    return caught.value


@pytest.mark.parametrize(
    ("name", "key_of_file", "value", "allowed"),
    [
        ("blip-tiny", "config.json: vision_config.patch_size", 0, "an integer from 1 to 16,384"),
        ("blip-tiny", "config.json: text_config.num_attention_heads", 0, "an integer from 1 to"),
        ("blip-tiny", "config.json: text_config.hidden_size", "32", "an integer from 1 to"),
        ("git-tiny", "config.json: num_hidden_layers", 10**6, "an integer from 1 to 512"),
        ("git-tiny", "config.json: hidden_size", 10**9, "an integer from 1 to 65,536"),
        ("git-tiny", "config.json: hidden_dropout_prob", float("nan"), "a number from 0 to 1"),
        ("vit-gpt2-tiny", "config.json: decoder.n_layer", 2.5, "an integer from 1 to 512"),
        ("vit-gpt2-tiny", "config.json: decoder.vocab_size", True, "an integer from 1 to"),
        ("vit-gpt2-tiny", "generation_config.json: num_beams", 0, "an integer from 1 to"),
        ("blip-tiny", "config.json: text_config.bos_token_id", 999, "an integer from 0 to"),
        ("git-tiny", "config.json: eos_token_id", -7, "an integer from 0 to"),
        ("vit-gpt2-tiny", "generation_config.json: pad_token_id", "x", "an integer from 0 to"),
        ("git-tiny", "config.json: num_image_with_embedding", 10**9, "an integer up to 100,000"),
        ("blip-tiny", "config.json: num_labels", 10**9, "an integer up to 100,000"),
        ("blip-tiny", "config.json: vision_config.num_block_repeats", [1, 10**6], "an integer up"),
        ("blip-tiny", "config.json: vision_config.depths", [2, 511], "integers from 1 with a sum"),
        ("vit-gpt2-tiny", "config.json: decoder.decoder_layers", 10**6, "an integer up to 512"),
        (
            *("mobilenet-gpt2-tiny", "config.json: encoder.backbone.depth_multiplier", 0),
            "a number from 0.001 to 64",
        ),
    ],
)
def test_a_value_out_of_range_is_named_with_file_key_value_and_range(
    saved: dict[str, Path], tmp_path: Path, name: str, key_of_file: str, value: Any, allowed: str
) -> None:
    file, key = key_of_file.split(": ")
    folder = Path(shutil.copytree(saved[name], tmp_path / "model"))
    edit(folder, file, key, value)
    error = refusal(folder)
    assert error.what == f"{folder / key_of_file} is {value!r}"
    assert error.fix.startswith(f"allowed: {allowed}")


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("size.height", 10**6, "an integer from 1 to 4,096"),
        ("image_mean", [0.5, 0.5], "three numbers from -1,000 to 1,000"),
        ("image_std", [0.5, 0, 0.5], "three numbers from 1e-06 to 1,000"),
        ("rescale_factor", "0.1", "a number from 1e-06 to 1e+06"),
        ("resample", -1, "an integer from 0 to 5"),
        ("do_resize", "yes", "true or false"),
    ],
)
def test_a_broken_image_processor_is_named_with_key_value_and_range(
    saved: dict[str, Path], tmp_path: Path, key: str, value: Any, allowed: str
) -> None:
    folder = Path(shutil.copytree(saved["git-tiny"], tmp_path / "model"))
    edit(folder, "processor_config.json", f"image_processor.{key}", value)
    error = refusal(folder)
    assert error.what == f"{folder / 'processor_config.json'}: {key} is {value!r}"
    assert error.fix == f"allowed: {allowed}"


def test_heads_that_do_not_divide_the_width_are_named(
    saved: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(saved["vit-gpt2-tiny"], tmp_path / "model"))
    edit(folder, "config.json", "decoder.n_head", 3)
    width = json.loads((folder / "config.json").read_text())["decoder"]["n_embd"]
    assert refusal(folder).what == (
        f"{folder / 'config.json'}: decoder.n_head is 3, which does not divide the width {width}"
    )


def test_images_of_a_size_that_the_model_does_not_support_are_refused_at_once(
    saved: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(saved["git-tiny"], tmp_path / "model"))
    edit(folder, "processor_config.json", "image_processor.size", {"height": 32, "width": 32})
    error = refusal(folder)
    assert error.what.startswith(f"the model '{folder}' does not accept an image of 32x32 pixels")


def test_an_image_processor_that_keeps_the_aspect_ratio_is_refused(
    saved: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(saved["mobilenet-gpt2-tiny"], tmp_path / "model"))
    edit(folder, "processor_config.json", "image_processor.size", {"shortest_edge": 64})
    error = refusal(folder)
    assert "returns images of different sizes: (83, 64) and (64, 144)" in error.what


def test_a_config_far_larger_than_its_weights_is_refused_before_memory_is_allocated(
    saved: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(saved["git-tiny"], tmp_path / "model"))
    edit(folder, "config.json", "intermediate_size", 65_536)
    edit(folder, "config.json", "hidden_size", 32_768)
    began = time.monotonic()
    error = refusal(folder)
    assert "config.json needs" in error.what
    assert "parameters, the weights beside it have" in error.what
    assert time.monotonic() - began < 20


def test_a_start_token_from_the_class_default_is_checked(
    saved: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(saved["blip-tiny"], tmp_path / "model"))
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    del config["text_config"]["bos_token_id"]
    path.write_text(json.dumps(config), encoding="utf-8")
    assert "has bos_token_id 30522, outside its vocabulary of" in refusal(folder).what


@pytest.mark.parametrize(
    ("name", "key_of_file", "value", "reason"),
    [
        ("git-tiny", "tokenizer.json: model.unk_token", "[GONE]", "fails on a caption: WordLevel"),
        ("vit-gpt2-tiny", "tokenizer_config.json: unk_token", "", "has no token '', which its"),
    ],
)
def test_a_tokenizer_whose_unknown_word_is_gone_is_refused_at_once(
    saved: dict[str, Path], tmp_path: Path, name: str, key_of_file: str, value: str, reason: str
) -> None:
    file, key = key_of_file.split(": ")
    folder = Path(shutil.copytree(saved[name], tmp_path / "model"))
    edit(folder, file, key, value)
    error = refusal(folder)
    assert error.what.startswith(f"the tokenizer of {str(folder)!r} {reason}")
    assert error.fix == "copy the model's tokenizer files again"


def test_the_encoder_to_join_is_checked_too(tmp_path: Path) -> None:
    tiny_encoder("vit").save_pretrained(tmp_path)
    edit(tmp_path, "config.json", "num_hidden_layers", 10**6)
    with pytest.raises(ModelError) as caught:
        build_captioner(ModelConfig(encoder=str(tmp_path)), ["a dog"])
    assert caught.value.where == "model.encoder"
    assert caught.value.what == f"{tmp_path / 'config.json'}: num_hidden_layers is 1000000"


@soak
@pytest.mark.slow
def test_no_mutation_of_a_models_files_ends_in_an_internal_error(
    saved: dict[str, Path], tmp_path: Path
) -> None:
    refused = done = 0
    for done in rounds(60, full=1500):
        seed = FIRST_SEED + done
        folder = tmp_path / "model"
        shutil.copytree(saved[SIZES[seed % len(SIZES)]], folder)
        changes = mutate(folder, seed=seed)
        try:
            assert len(captune.load(folder, device="cpu").caption(images(1))) == 1
        except CaptuneError as error:
            assert error.exit_code == 2, changes
            refused += 1
        shutil.rmtree(folder)
    assert 0.3 * done < refused <= done
