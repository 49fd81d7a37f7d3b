"""The names that served models get."""

from __future__ import annotations

from pathlib import Path

import pytest

from captune.errors import RecipeError
from captune.serving import name_served_models


def test_a_model_is_named_after_its_folder_or_its_run(tmp_path: Path) -> None:
    for name in ("my-run/model", "my photos"):
        (tmp_path / name).mkdir(parents=True)
    words = [str(tmp_path / "my-run" / "model"), str(tmp_path / "my photos")]
    assert [name for name, _ in name_served_models(words)] == ["my-run", "my-photos"]


def test_a_name_can_be_given_and_a_hub_id_is_its_own_name() -> None:
    assert name_served_models(["b=me/blip", "me/git"]) == (("b", "me/blip"), ("me/git", "me/git"))


def test_two_models_with_the_same_name_are_refused() -> None:
    with pytest.raises(RecipeError, match="two models are called 'a': x/1 and x/2"):
        name_served_models(["a=x/1", "a=x/2"])


def test_a_name_with_other_characters_is_refused() -> None:
    with pytest.raises(RecipeError, match="'my model' is not a model's name"):
        name_served_models(["my model=x/1"])


def test_a_missing_folder_is_not_reported_as_a_bad_name(tmp_path: Path) -> None:
    with pytest.raises(
        RecipeError, match=f"{tmp_path}/none is neither an existing folder nor a hub id"
    ):
        name_served_models([f"{tmp_path}/none"])
