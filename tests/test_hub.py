"""Errors of model folders and hub ids: what is wrong, where, and the fix."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from captune.errors import ModelError
from captune.hub import (
    check_model_folder,
    find_model,
    is_local,
    load_pretrained,
    quiet_transformers,
    require_weights,
)

WHERE = "model.checkpoint"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        check_model_folder(tmp_path / "gone", where=WHERE)
    assert caught.value.what == f"model folder '{tmp_path}/gone' does not exist"
    assert caught.value.where == WHERE
    assert "or a hub id such as owner/name" in caught.value.fix


def test_a_file_in_place_of_a_folder_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"")
    with pytest.raises(ModelError) as caught:
        check_model_folder(file, where=WHERE)
    assert caught.value.what == f"'{file}' is a file, not a model folder"
    assert caught.value.fix == "give the folder that contains config.json and the weights"


def test_a_folder_without_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        require_weights(tmp_path, where=WHERE)
    assert caught.value.what == f"'{tmp_path}' has no config.json"
    assert caught.value.fix.endswith("such as runs/NAME/model")


def test_the_error_for_the_folder_of_a_run_points_to_its_model(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError) as caught:
        require_weights(tmp_path, where=WHERE)
    assert caught.value.fix.endswith(f"such as {tmp_path}/model")


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError) as caught:
        require_weights(tmp_path, where=WHERE)
    assert caught.value.what == f"model folder '{tmp_path}' has no weights (*.safetensors)"
    assert caught.value.fix.startswith("copy the weights into it")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without pipes")
@pytest.mark.parametrize(
    "name", ["model.safetensors", "tokenizer.json", "preprocessor_config.json"]
)
def test_a_pipe_in_a_models_folder_is_named_instead_of_waiting_for_it(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes(b"x")
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(ModelError, match="is a pipe, not a file"):
        find_model(str(tmp_path))


def test_a_folder_or_a_broken_link_in_place_of_weights_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    weights = tmp_path / "model.safetensors"
    weights.mkdir()
    with pytest.raises(ModelError, match="is a folder, not the weights"):
        find_model(str(tmp_path))
    weights.rmdir()
    weights.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ModelError, match="is a link that leads nowhere, not the weights"):
        find_model(str(tmp_path))


def test_settings_that_cannot_be_read_are_not_taken_for_absent(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes(b"x")
    (tmp_path / "notes").symlink_to(tmp_path / "nowhere")
    assert find_model(str(tmp_path)) == str(tmp_path)
    settings = tmp_path / "generation_config.json"
    settings.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ModelError, match="is a link that leads nowhere, not a file"):
        find_model(str(tmp_path))
    settings.unlink()
    settings.mkdir()
    with pytest.raises(ModelError, match="is a folder, not a file"):
        find_model(str(tmp_path))


def test_a_git_lfs_pointer_is_not_accepted_as_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    file = tmp_path / "model.safetensors"
    file.write_text("version https://git-lfs.github.com/spec/v1\nsize 12\n", encoding="utf-8")
    with pytest.raises(ModelError) as caught:
        require_weights(tmp_path, where=WHERE)
    assert caught.value.what == f"'{file}' is a Git LFS pointer, not the weights"
    assert "git lfs pull" in caught.value.fix


@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors",
        "model-00001-of-00002.safetensors",
        "pytorch_model.bin",
        "pytorch_model-00001-of-00002.bin",
    ],
)
def test_weights_in_every_layout_of_transformers_are_found(name: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / name).write_bytes(b"weights")
    require_weights(tmp_path, where=WHERE)


@pytest.mark.parametrize(
    ("source", "local"),
    [
        ("Salesforce/blip-image-captioning-base", False),
        ("gpt2", False),
        ("./model", True),
        ("/data/model", True),
        ("~/model", True),
        ("runs/demo/model", True),
        ("..", True),
        ("C:\\models\\blip", True),
    ],
)
def test_paths_and_hub_ids_are_distinguished(source: str, local: bool) -> None:
    assert is_local(source) is local


def test_an_existing_path_is_local_even_if_it_looks_like_an_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "owner/name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert is_local("owner/name")


@pytest.mark.slow
def test_an_unreachable_hub_id_names_the_nearest_cached_one(tmp_path: Path) -> None:
    (tmp_path / "models--microsoft--git-base").mkdir()
    (tmp_path / "models--openai-community--gpt2").mkdir()
    # The id may be meant as a path that does not exist.
    (tmp_path / "microsoft" / "swin").mkdir(parents=True)
    # In a new process: huggingface_hub reads the two variables on import.
    script = (
        "from transformers import AutoConfig\n"
        "from captune.errors import ModelError\n"
        "from captune.hub import load_pretrained\n"
        "try:\n"
        "    load_pretrained(AutoConfig, 'microsoft/git-bsae', where='model.checkpoint')\n"
        "except ModelError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path), "PATH": ""},
    )
    first, where, fix = done.stdout.strip().splitlines()
    assert first.startswith(
        "cannot load hub id 'microsoft/git-bsae' (did you mean 'microsoft/git-base'?): "
    )
    assert where == "  where: model.checkpoint"
    assert fix == (
        "  fix:   check the id and the connection, or give a local folder (here: microsoft/swin);"
        " without a network, train a small model from scratch on your own images:"
        " captune run demo --set data.path=MY_FOLDER"
    )
    assert done.stderr == ""


def test_an_id_of_one_word_is_also_reported_as_a_missing_folder(
    tmp_path: Path, monkeypatch
) -> None:
    from transformers import AutoConfig

    (tmp_path / "my-model").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError) as caught:
        load_pretrained(AutoConfig, "my-modle", where=WHERE)
    assert "(no folder is named 'my-modle') (did you mean 'my-model'?)" in caught.value.fix


def test_the_error_for_a_broken_config_names_the_folder(tmp_path: Path) -> None:
    from transformers import AutoConfig

    (tmp_path / "config.json").write_text("{bad", encoding="utf-8")
    with pytest.raises(ModelError) as caught:
        load_pretrained(AutoConfig, str(tmp_path), where=WHERE)
    assert caught.value.what.startswith(f"cannot load '{tmp_path}': ")
    assert "not a valid JSON file" in caught.value.what
    assert caught.value.fix == "give a folder that save_pretrained wrote, complete and unchanged"


def test_a_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoConfig, ViTConfig

    ViTConfig(hidden_size=48).save_pretrained(tmp_path / "vit")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_pretrained(AutoConfig, "~/vit", where=WHERE).hidden_size == 48


def test_transformers_is_quiet_inside_the_context_only() -> None:
    from transformers.utils import logging as their_logging

    their_logging.set_verbosity_info()
    try:
        with quiet_transformers():
            assert their_logging.get_verbosity() == logging.ERROR
            assert not their_logging.is_progress_bar_enabled()
        assert their_logging.get_verbosity() == logging.INFO
        assert their_logging.is_progress_bar_enabled()
    finally:
        their_logging.set_verbosity_warning()


def test_importing_the_package_does_not_import_torch() -> None:
    script = "import sys, captune.hub; print('torch' in sys.modules, 'transformers' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False False"
