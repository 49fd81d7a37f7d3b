"""The public form of a recipe, and the hub ids it names."""

from __future__ import annotations

from pathlib import Path

import pytest

from captune.errors import RecipeError
from captune.recipe import base_models, hide_local_paths, hub_data_sets, load_recipe


def test_absolute_paths_keep_only_their_last_part() -> None:
    recipe = load_recipe(
        "demo",
        [
            "data.path=/home/alice/secret/photos",
            "data.image_root=~/pictures",
            "data.split_files={train: /home/alice/train.txt}",
            "description=/not a path, words/",
            "generate.prompt=/a photo of",
        ],
    )
    shown = hide_local_paths(recipe)
    assert shown.data.path == "photos"
    assert shown.data.image_root == "pictures"
    assert shown.data.split_files == {"train": "train.txt"}
    assert shown.description == recipe.description
    assert shown.generate.prompt == "/a photo of"


def test_a_recipe_without_absolute_paths_stays_unchanged() -> None:
    recipe = load_recipe("pokemon-git")
    assert hide_local_paths(recipe) == recipe


def test_hub_ids_are_returned_without_revision_and_configuration() -> None:
    recipe = load_recipe(
        "pokemon-git", ["data.path=owner/set:large", "model.checkpoint=owner/model@v1"]
    )
    assert base_models(recipe) == ("owner/model",)
    assert hub_data_sets(recipe) == ("owner/set",)


@pytest.mark.parametrize("path", ["data.example/train-{000..003}.tar", "data.example/a@b/x.tar"])
def test_a_url_is_published_without_password_and_signature(path: str) -> None:
    for given in (f"{path}?X-Amz-Signature=secret", f"alice:secret@{path}", f"al@ice:se@{path}"):
        recipe = load_recipe("demo", [f"data.path=https://{given}"])
        assert hide_local_paths(recipe).data.path == f"https://{path}"


def test_folders_and_built_in_sets_are_not_hub_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert hub_data_sets(load_recipe("pokemon-git", ["data.path=data/mine"])) == ()
    assert hub_data_sets(load_recipe("demo")) == ()
    assert base_models(load_recipe("demo")) == ()


def test_a_revision_that_pins_nothing_is_refused() -> None:
    with pytest.raises(RecipeError, match="pin encoder, decoder and tokenizer"):
        load_recipe("coco-swin-gpt2", ["model.revision=v1"])


def test_an_invalid_repository_name_is_refused_before_any_work() -> None:
    with pytest.raises(RecipeError, match="push_to_hub"):
        load_recipe("demo", ["train.push_to_hub=https://hub/me/x"])
