"""A written recipe reads back equal, and has a comment with the meaning of every setting."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from captune.errors import OutputError
from captune.recipe import (
    Recipe,
    dump_changed,
    dump_recipe,
    flat_settings,
    load_recipe,
    parse_recipe,
    save_recipe,
    shipped_recipes,
)

TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30)


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_dumped_recipe_reads_back_equal(name: str) -> None:
    recipe = load_recipe(name)
    assert parse_recipe(dump_recipe(recipe)) == recipe


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(text=TEXTS, rate=st.floats(1e-12, 1e6), metrics=st.lists(TEXTS, max_size=3))
def test_any_text_and_number_reads_back_equal(text: str, rate: float, metrics: list[str]) -> None:
    recipe = Recipe.model_validate(
        {
            "description": text,
            "train": {"learning_rate": rate},
            "model": {"revision": text},
            "evaluate": {"metrics": metrics},
        }
    )
    assert parse_recipe(dump_recipe(recipe)) == recipe


@pytest.mark.parametrize("text", ["null", "~", "off", "1e5", "'quoted'", "a: b", "#x", " x ", "]"])
def test_text_that_yaml_could_read_as_another_type_is_quoted(text: str) -> None:
    recipe = Recipe.model_validate({"model": {"revision": text}})
    written = dump_recipe(recipe)
    assert parse_recipe(written) == recipe
    assert yaml.safe_load(written)["model"]["revision"] == text


@pytest.mark.parametrize("mark", ["\x1b[2J", "\u202e", "\u2066", "\x85", "\u2028", "\x9b"])
def test_characters_that_steer_a_terminal_are_written_as_escapes(mark: str) -> None:
    recipe = Recipe.model_validate({"description": f"é {mark} x"})
    written = dump_recipe(recipe)
    assert mark[0] not in written
    assert parse_recipe(written) == recipe


def test_every_setting_is_in_the_dump_once_with_its_meaning_and_range() -> None:
    lines = dump_recipe(Recipe()).splitlines()
    (beams,) = (line for line in lines if line.strip().startswith("num_beams:"))
    assert beams.split("  # ")[1] == "Beams; 1: greedy. (a whole number >= 1 and <= 64)"
    settings_lines = [line for line in lines if ":" in line.split("#")[0].strip()[:30]]
    assert len(settings_lines) == _count(Recipe().model_dump())


def _count(values: dict[str, object]) -> int:
    return sum(
        1 + (_count(value) if isinstance(value, dict) and value else 0) for value in values.values()
    )


def test_a_saved_recipe_replaces_the_old_one_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "run" / "recipe.yaml"
    save_recipe(Recipe(name="old"), path)
    save_recipe(Recipe(name="new"), path)
    assert load_recipe(path) == Recipe(name="new")
    assert [p.name for p in path.parent.iterdir()] == ["recipe.yaml"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_place_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        save_recipe(Recipe(), tmp_path / "file" / "recipe.yaml")


def test_only_changed_settings_are_a_recipe_that_gives_the_same_settings() -> None:
    settings = {"name": "mine", "train": {"epochs": 2}, "data": {"views": ["original", "flip"]}}
    recipe = Recipe.model_validate({**settings, "license": "mit", "language": "zh-Hant"})
    text = dump_changed(recipe)
    assert text.split("\n")[:4] == ["name: mine", "license: mit", "language: zh-Hant", "data:"]
    assert "seed" not in text
    assert parse_recipe(text) == recipe
    assert dump_changed(Recipe()) == ""


def test_a_setting_has_one_dotted_key() -> None:
    flat = flat_settings(Recipe.model_validate({"data": {"filters": {"kind": ["a"]}}}))
    assert flat["train.epochs"] == Recipe().train.epochs
    assert flat["data.split_fractions.val"] == 0.1
    assert flat["data.filters.kind"] == ["a"]
    assert "data" not in flat
