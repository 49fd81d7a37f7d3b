"""A LoRA adapter given as a model is named and refused, with the code to merge it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from captune.errors import ModelError
from captune.models import build_captioner, check_sources, load_captioner
from captune.recipe import ModelConfig
from support.models.tiny_models import build


def adapter(folder: Path, settings: str) -> Path:
    """Write a folder like the one that peft's `save_pretrained` writes."""
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(settings, encoding="utf-8")
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    return folder


def refusal(folder: Path) -> ModelError:
    with pytest.raises(ModelError) as caught:
        load_captioner(folder)
    return caught.value


def test_an_adapter_is_named_with_its_base_model_and_how_to_merge_it(tmp_path: Path) -> None:
    base = {"base_model_name_or_path": "Salesforce/blip-image-captioning-base"}
    folder = adapter(tmp_path, json.dumps(base))
    error = refusal(folder)
    assert error.what == (
        f"'{folder}' is an adapter (LoRA) for the base model"
        " 'Salesforce/blip-image-captioning-base', not a complete model"
    )
    assert "base = 'Salesforce/blip-image-captioning-base'" in error.fix
    assert f"PeftModel.from_pretrained(model, '{folder}').merge_and_unload()" in error.fix


@pytest.mark.parametrize("settings", ["{}", "", "[]", '{"base_model_name_or_path": null}'])
def test_an_adapter_without_a_base_model_is_named_too(tmp_path: Path, settings: str) -> None:
    error = refusal(adapter(tmp_path, settings))
    assert "is an adapter (LoRA) for an unnamed base model" in error.what
    assert "base = 'BASE_MODEL'" in error.fix


def test_an_adapter_beside_a_config_is_named_too(tmp_path: Path) -> None:
    build("git-tiny").model.config.save_pretrained(tmp_path)
    assert "is an adapter (LoRA)" in refusal(adapter(tmp_path, "{}")).what


def test_an_adapter_in_a_recipe_is_named_before_any_work(tmp_path: Path) -> None:
    folder = adapter(tmp_path, "{}")
    for key in ("checkpoint", "encoder"):
        config = ModelConfig.model_validate({key: str(folder)})
        with pytest.raises(ModelError, match="is an adapter") as caught:
            check_sources(config)
        assert caught.value.where == f"model.{key}"
        with pytest.raises(ModelError, match="is an adapter"):
            build_captioner(config, ["a dog"])
