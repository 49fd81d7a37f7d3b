"""Values that no machine can hold or no library accepts are refused early, in plain words."""

from __future__ import annotations

from pathlib import Path

import pytest

from captune.errors import RecipeError
from captune.recipe import Recipe, load_recipe, parse_recipe, shipped_path, shipped_recipes


def fault(*overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe("demo", overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (f"seed={2**64}", "seed must be at most 2147483647; it is 18446744073709551616"),
        ("generate.seed=4294967296", "generate.seed must be at most 2147483647"),
        ("data.num_workers=1000000", "data.num_workers must be at most 1024; it is 1000000"),
        ("model.new_decoder.layers=1000000000", "model.new_decoder.layers must be a whole number"),
        ("model.new_decoder.layers=257", "must be a whole number >= 1 and <= 256; it is 257"),
        ("train.micro_batch_size=1e12", "train.micro_batch_size must be at most 65536"),
        ("data.max_caption_tokens=2", "data.max_caption_tokens must be a whole number >= 3"),
        ("train.beta1=1", "train.beta1 must be a number >= 0 and < 1; it is 1"),
        (f"name={'a' * 300}", "name must be a name of up to 100 letters, digits"),
        ("name=my run/1", "name must be a name of up to 100 letters, digits, '.', '_' and '-'"),
        ("train.push_to_hub=a/b/c", "must be a hub repository: OWNER/NAME, or NAME of your own"),
        (f"train.epochs={'9' * 5000}", "train.epochs must be a number > 0; it is '999"),
        (f"seed={'9' * 5000}", "seed must be a whole number >= 0; it is '999"),
        (f"seed=0x{'f' * 5000}", "seed must be a whole number >= 0; it is '0xfff"),
    ],
)
def test_a_value_out_of_bounds_is_refused_with_the_bound(override: str, expected: str) -> None:
    message = fault(override)
    assert expected in message
    assert "^[" not in message
    assert "Value error" not in message
    assert len(message) < 6000


def test_a_number_of_thousands_of_digits_in_a_file_is_refused_with_its_line() -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(f"name: x\nseed: {'9' * 5000}", name="my.yaml")
    assert caught.value.where == "my.yaml:2"
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("evaluate.split=dev", "val"),
        ("evaluate.split=validation", "val"),
        ("evaluate.split=tset", "test"),
        ("train.precision=float16", "fp16"),
        ("train.schedule=cosin", "cosine"),
    ],
)
def test_a_word_from_another_tool_gets_a_suggestion(override: str, meant: str) -> None:
    assert f"fix:   did you mean {meant}?" in fault(override)


def test_every_number_of_a_recipe_has_an_upper_bound() -> None:
    schema = Recipe.model_json_schema()
    unbounded = [
        f"{section}.{name}"
        for section, node in {**schema["$defs"], "Recipe": schema}.items()
        for name, field in node.get("properties", {}).items()
        for choice in field.get("anyOf", [field])
        if choice.get("type") in ("integer", "number")
        and not {"maximum", "exclusiveMaximum"} & choice.keys()
    ]
    assert unbounded == []


def test_a_shipped_name_takes_precedence_over_a_file_or_folder_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    (tmp_path / "pokemon-git").write_text("name: mine\n")
    assert load_recipe("demo") == load_recipe(shipped_path("demo"))
    assert load_recipe("pokemon-git").name == "pokemon-git"
    assert load_recipe("./pokemon-git").name == "mine"
    with pytest.raises(RecipeError, match="is a folder"):
        load_recipe("./demo")


def test_every_shipped_recipe_is_within_the_bounds() -> None:
    assert [load_recipe(name).name for name in shipped_recipes()] == list(shipped_recipes())


def test_a_very_long_override_is_shortened_in_its_error() -> None:
    assert len(fault(f"seed={'9' * 5000}")) < 300
    assert len(fault("a" * 5000)) < 500


def test_an_empty_name_is_refused_in_plain_words() -> None:
    with pytest.raises(RecipeError, match="a run needs a name"):
        parse_recipe('name: ""')
