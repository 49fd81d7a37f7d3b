"""Recipes from YAML and overrides: the values read, and the report of every error."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from captune.errors import RecipeError
from captune.recipe import Recipe, load_recipe, parse_recipe, shipped_recipes


def error_of(text: str) -> str:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, name="my.yaml")
    return str(caught.value)


def override_error(*overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe("demo", overrides)
    return str(caught.value)


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_parses_and_has_the_name_of_its_file_and_a_description(
    name: str,
) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.description.endswith(".")


def test_omitted_settings_keep_their_defaults() -> None:
    assert parse_recipe("name: x") == Recipe(name="x")


@pytest.mark.parametrize(
    ("text", "value"), [("1e-5", 1e-5), ("1E-5", 1e-5), ("2.5e-4", 2.5e-4), (".5", 0.5), ("3", 3.0)]
)
def test_usual_forms_of_numbers_are_read(text: str, value: float) -> None:
    recipe = parse_recipe(f"train: {{learning_rate: {text}}}")
    assert recipe.train.learning_rate == value
    assert load_recipe("demo", [f"train.learning_rate={text}"]).train.learning_rate == value


def test_a_leading_zero_is_decimal_not_octal() -> None:
    assert parse_recipe("seed: 010").seed == 10


@pytest.mark.parametrize(
    "text", ["off", "no", "1e5", "0123", "12345678", "2024-01-01", "1_0", "0x1f", "true", "12:30"]
)
def test_a_text_setting_gets_the_text_as_written(text: str) -> None:
    assert parse_recipe(f"model: {{revision: {text}}}").model.revision == text
    assert load_recipe("demo", [f"model.revision={text}"]).model.revision == text


def test_feature_cache_off_is_the_word_not_false() -> None:
    assert parse_recipe("train: {feature_cache: off}").train.feature_cache == "off"


@pytest.mark.parametrize("text", ["null", "~", ""])
def test_null_is_none_if_the_setting_allows_it(text: str) -> None:
    assert parse_recipe(f"data: {{image_column: {text}}}").data.image_column is None
    assert load_recipe("demo", [f"data.image_column={text}"]).data.image_column is None
    assert load_recipe("demo", [f"train.max_steps={text}"]).train.max_steps is None


def test_quoted_null_is_text() -> None:
    assert parse_recipe("data: {image_column: 'null'}").data.image_column == "null"


@pytest.mark.parametrize("name", ["CON", "nul.v2", "com1", "run."])
def test_a_name_that_windows_reserves_is_refused_on_every_system(name: str) -> None:
    assert error_of(f"name: {name}").startswith(f"name: Windows allows no folder named {name!r}")
    fitting = f"run-{name.rstrip('.')}"
    assert f"such as {fitting}\n" in error_of(f"name: {name}")
    assert parse_recipe(f"name: {fitting}").name == fitting


def test_a_name_with_other_letters_gets_no_advice_that_fails_too() -> None:
    for name in ("my run", "a:b", ".hidden.", "\u72ac?"):
        assert "name must be a name of up to 100 letters" in error_of(f"name: '{name}'")


def test_an_unknown_key_is_reported_with_its_line_and_a_suggestion() -> None:
    assert error_of("name: x\ntrain:\n  epochs: 2\n  learning_rat: 1e-5\n") == (
        "unknown setting train.learning_rat\n"
        "  where: my.yaml:4\n"
        "  fix:   did you mean train.learning_rate?"
    )


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("train.lr", "train.learning_rate"),
        ("train.batch_size", "train.micro_batch_size"),
        ("train.gradient_accumulation_steps", "train.global_batch_size"),
        ("evaluate.num_beams", "generate.num_beams"),
        ("generate.beam_size", "generate.num_beams"),
        ("learning_rate", "train.learning_rate"),
        ("trian", "train"),
        ("model.new_decoder.layer", "model.new_decoder.layers"),
        ("data.split_files.vak", "data.split_files.val"),
    ],
)
def test_suggestions_come_from_the_section_other_sections_and_other_tools(
    key: str, meant: str
) -> None:
    assert f"did you mean {meant}?" in override_error(f"{key}=1")


def test_an_unknown_key_without_a_similar_one_gets_the_list_of_keys() -> None:
    assert "fix:   generate accepts: num_beams, max_new_tokens," in override_error("generate.qqq=1")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "train: {epochs: many}",
            "train.epochs must be a number > 0; it is 'many'",
        ),
        ("train: {epochs: 0}", "train.epochs must be a number > 0; it is 0"),
        (
            "generate: {num_beams: 65}",
            "generate.num_beams must be a whole number >= 1 and <= 64; it is 65",
        ),
        (
            "generate: {num_beams: 2.5}",
            "generate.num_beams must be a whole number >= 1 and <= 64; it is 2.5",
        ),
        (
            "generate: {num_beams: true}",
            "generate.num_beams must be a whole number >= 1 and <= 64; it is 'true'",
        ),
        (
            "train: {schedule: cosin}",
            "train.schedule must be one of: cosine, linear, constant; it is 'cosin'",
        ),
        ("data: {path: null}", "data.path must be text; it is null"),
        ("data: {path: [a]}", "data.path must be text; it is ['a']"),
        ("generate: {do_sample: perhaps}", "must be true or false; it is 'perhaps'"),
        (
            "data: {views: []}",
            "data.views must be a list of one or more of: original, flip, crop",
        ),
        ("data: {views: [flip, spin]}", "data.views.1 must be one of: original, flip, crop"),
        ("model: blip", "model must be a section with some of: checkpoint, size,"),
        (
            "name: a b",
            "name must be a name of up to 100 letters, digits, '.', '_' and '-'",
        ),
        (
            "data: {split_fractions: {train: 0.9}}",
            "data.split_fractions: train + val + test must be 1, not 1.1",
        ),
        (
            "train: {micro_batch_size: 5}",
            "train: global_batch_size 32 is not a multiple of micro_batch_size 5",
        ),
    ],
)
def test_an_invalid_value_is_reported_with_the_allowed_ones(text: str, expected: str) -> None:
    message = error_of(text)
    assert expected in message
    assert "where: my.yaml:1" in message


def test_a_single_value_for_a_list_gets_a_fix_with_brackets() -> None:
    assert "fix:   write [cider]" in error_of("evaluate: {metrics: cider}")


def test_all_errors_of_file_and_overrides_are_reported_at_once_with_their_places(
    tmp_path: Path,
) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("name: x\nsed: 1\ntrain:\n  epochs: -1\n  views: 2\n  epochs: 3\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, ["generate.top_p=2", "epochs"])
    lines = str(caught.value).splitlines()
    assert lines[0] == "6 settings cannot be used"
    assert sorted(lines[1:-2]) == sorted(
        [
            f"  {path}:2: unknown setting sed (did you mean seed?)",
            f"  {path}:4: train.epochs must be a number > 0; it is -1",
            f"  {path}:5: unknown setting train.views (did you mean data.views?)",
            f"  {path}:6: train.epochs is given twice, first at {path}:4",
            "  --set generate.top_p=2: generate.top_p must be a number > 0 and <= 1; it is 2",
            "  --set epochs: 'epochs' is not an override"
            " (write it as section.key=value, such as --set train.epochs=5)",
        ]
    )


def test_an_override_takes_precedence_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("train: {epochs: 3, learning_rate: 1e-4}\n")
    recipe = load_recipe(path, ["train.epochs=5", "train.epochs=7"])
    assert (recipe.train.epochs, recipe.train.learning_rate) == (7.0, 1e-4)


@pytest.mark.parametrize("text", ["bleu_4,cider", "[bleu_4, cider]", "bleu_4, cider"])
def test_a_list_override_is_yaml_or_names_separated_by_commas(text: str) -> None:
    recipe = load_recipe("demo", [f"evaluate.metrics={text}"])
    assert recipe.evaluate.metrics == ("bleu_4", "cider")


def test_an_override_of_text_may_contain_anything() -> None:
    for text in ("a: b", "[x", "{", "a #b", "x = y", "- no"):
        assert load_recipe("demo", [f"generate.prompt={text}"]).generate.prompt == text
    assert load_recipe("demo", ["generate.prompt="]).generate.prompt == ""
    assert load_recipe("demo", ["generate.prompt='a '"]).generate.prompt == "a "


def test_an_override_with_a_mapping_keeps_the_rest_of_its_section() -> None:
    recipe = load_recipe("demo", ["train={epochs: 2}", "data.split_files={val: v.txt}"])
    assert recipe.train == load_recipe("demo").train.model_copy(update={"epochs": 2.0})
    assert recipe.data.split_files == {"val": "v.txt"}


def test_an_override_with_an_empty_mapping_empties_a_table_and_nothing_else(
    tmp_path: Path,
) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("data: {filters: {corrupted: 0}, split_files: {val: v.txt}}\n")
    recipe = load_recipe(path, ["data.filters={}", "data.split_files={}", "data={}"])
    assert recipe == Recipe()
    assert "unknown setting trian" in override_error("trian={}")
    assert "train.epochs must be a number" in override_error("train.epochs={}")


def test_a_quoted_override_of_a_filter_is_one_text() -> None:
    for text, values in (("a, b", ("a", "b")), ('"a, b"', ("a, b",)), ("'07'", ("07",))):
        recipe = load_recipe("demo", [f"data.filters.place={text}"])
        assert recipe.data.filters == {"place": values}
    quoted = load_recipe("demo", ["evaluate.metrics='bleu_4, cider'"])
    assert quoted.evaluate.metrics == ("bleu_4", "cider")


def test_an_override_below_a_plain_setting_is_refused() -> None:
    assert "data.path is a setting, not a section" in override_error("data.path.x=1")
    message = override_error("data.max_captions.x=2")
    assert "data.max_captions must be a whole number >= 1, or null; it is {'x': 2}" in message


def test_a_conflict_between_settings_names_the_override_that_caused_it() -> None:
    assert "where: --set train.micro_batch_size=5" in override_error("train.micro_batch_size=5")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("train:\n\tepochs: 1\n", "where: my.yaml:2"),
        ("name: x\n  seed: 1\n", "where: my.yaml:2"),
        ("train: [1\nname: x\n", "where: my.yaml:2"),
        ("name: x\n---\nname: y\n", "where: my.yaml:2"),
        ("a: &x 1\nb: *x\n", "anchors are not supported\n  where: my.yaml:2"),
        ("", "recipe 'my.yaml' holds no settings"),
        ("# only a comment\n", "holds no settings"),
        ("- a\n", "holds no settings\n  where: my.yaml:1"),
        ("name: !!python/name:os.system x\n", "tags such as"),
        ("? [a, b]\n: c\n", "a key must be one word"),
        ("[" * 5000, "is not readable as YAML"),
        ("name: \x07", "is not readable as YAML"),
    ],
)
def test_text_that_is_not_a_recipe_is_refused_with_its_place(text: str, expected: str) -> None:
    assert expected in error_of(text)


def test_a_file_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"name: x\ndescription: caf\xe9\n")
    with pytest.raises(RecipeError, match="is not UTF-8 text") as caught:
        load_recipe(path)
    assert caught.value.where == f"{path}:2"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_a_byte_order_mark_gives_the_encoding(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "bom.yaml"
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    path.write_bytes(f"{mark}name: x\r\nseed: 3\r\ndescription: Zürich\r\n".encode(encoding))
    assert load_recipe(path) == Recipe(name="x", seed=3, description="Zürich")


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    path.write_bytes(b"#" * 1_000_001)
    with pytest.raises(RecipeError, match="larger than 1 MB"):
        load_recipe(path)


def test_an_unknown_name_gets_a_suggestion_and_the_list() -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("dmo")
    assert caught.value.what == "unknown recipe 'dmo' (did you mean 'demo'?)"
    assert "demo" in caught.value.fix


def test_a_missing_file_and_a_folder_are_errors_with_a_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match=r"recipe file 'nope\.yaml' does not exist"):
        load_recipe("nope.yaml")
    Path("run").mkdir()
    Path("run/recipe.yaml").write_text("name: x\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe("run")
    assert caught.value.fix == "use run/recipe.yaml"
    if hasattr(os, "mkfifo"):
        # As in `captune run <(...)`.
        os.mkfifo("pipe")
        with pytest.raises(RecipeError, match="recipe 'pipe' is a pipe, not a regular file"):
            load_recipe("pipe")


def test_a_recipe_in_the_working_folder_is_named_by_its_relative_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my.yaml").write_text("seed: -1\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe(tmp_path / "my.yaml")
    assert caught.value.where == "my.yaml:1"


def test_with_other_data_the_description_of_the_shipped_data_is_dropped() -> None:
    assert load_recipe("demo", ["data.path=my-photos"]).description == ""
    both = ["description=Boats.", "data.path=my-photos"]
    assert load_recipe("demo", both).description == "Boats."
    assert load_recipe("demo", ["train.epochs=2"]).description
