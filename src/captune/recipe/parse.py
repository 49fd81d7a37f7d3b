"""A recipe from YAML and `--set` overrides; all errors are reported at once, each with its line.

Names, types and ranges come from `schema.py` alone; see `yaml_nodes.py` for how YAML is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from captune.errors import CHECK_PATH, RecipeError
from captune.recipe.schema import Recipe
from captune.recipe.schema_words import (
    Key,
    accepts,
    allowed,
    nearest_choice,
    nearest_key,
    node_at,
    section_keys,
)
from captune.recipe.shipped import shipped_path, shipped_recipes
from captune.recipe.yaml_nodes import (
    Document,
    Problem,
    dotted,
    file_name,
    read_document,
    read_value,
)
from captune.storage import expand_home, find_encoding, name_kind

OVERRIDE = "--set "
"""Start of the place of an override."""
_MAX_SHOWN = 100
"""Maximum number of characters of an override that errors show."""

_MAX_BYTES = 1_000_000
_SHOW_ALL = "correct it: captune recipes demo --full lists all settings"


def load_recipe(source: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Return the recipe of a shipped name or a YAML file, with overrides applied.

    Args:
        source: A shipped name (`captune recipes`), or the path of a YAML file.
        overrides: Texts `key.key=value`; the value is YAML, and a list may also be `a,b`. With
            another `data.path`, the description of a shipped recipe is dropped.

    Raises:
        RecipeError: There is no such recipe, or some of its settings cannot be used; the error
            names each with its place and the allowed values.
    """
    path = recipe_path(source)
    name = file_name(path)
    document = read_document(_read_text(path, name=name), name=name)
    # One override is a sequence of letters too.
    changes = (overrides,) if isinstance(overrides, str) else tuple(overrides)
    if source in shipped_recipes() and any(c.startswith("data.path=") for c in changes):
        # The shipped sentence is about the shipped data; reports and model cards would show it.
        changes = ("description=''", *changes)
    for override in changes:
        _apply_override(document, override)
    return _validated(document, name=name)


def parse_recipe(text: str, *, name: str = "recipe") -> Recipe:
    """Return the recipe in YAML text; `name` stands for the file in errors.

    Raises:
        RecipeError: Some settings cannot be used.
    """
    return _validated(read_document(text, name=name), name=name)


def recipe_path(source: str | Path) -> Path:
    """Return the file of a recipe argument: a shipped name, or a path.

    A shipped name takes precedence over a file or folder of that name; `./demo` is a path.

    Raises:
        RecipeError: There is no such file and no such shipped recipe.
    """
    if not isinstance(source, str | Path):
        raise RecipeError(
            f"the recipe is of type {type(source).__name__}",
            fix="give a name, a YAML file, or settings as captune.Recipe.model_validate({...})",
        )
    if not str(source).strip():
        raise RecipeError(
            "the name of the recipe is empty", fix="give a YAML file or a name: captune recipes"
        )
    path = expand_home(source)
    if isinstance(source, str) and source in shipped_recipes():
        return shipped_path(source)
    if path.is_dir():
        inside = path / "recipe.yaml"
        raise RecipeError(
            f"recipe {str(source)!r} is a folder",
            fix=f"use {inside}" if inside.is_file() else "give the YAML file in it",
        )
    if path.is_file():
        return path
    if path.exists():
        raise RecipeError(
            f"recipe {str(source)!r} is {name_kind(path)}, not a regular file",
            fix="copy its content into a file first",
        )
    is_path = isinstance(source, Path) or path.suffix in (".yaml", ".yml") or len(path.parts) > 1
    if is_path:
        raise RecipeError(
            f"recipe file {str(source)!r} does not exist",
            fix="check the path, or use a shipped name: captune recipes",
        )
    return shipped_path(str(source))


def _read_text(path: Path, *, name: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise RecipeError(
            f"cannot read recipe {name!r}: {error.strerror}",
            fix=CHECK_PATH,
        ) from error
    if len(content) > _MAX_BYTES:
        raise RecipeError(f"recipe {name!r} is larger than 1 MB", fix="give a recipe's YAML file")
    try:
        # Windows PowerShell writes UTF-16: `captune recipes demo > my-recipe.yaml`.
        return content.decode(find_encoding(content))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise RecipeError(
            f"recipe {name!r} is not UTF-8 text", where=f"{name}:{line}", fix="save it as UTF-8"
        ) from error


def _apply_override(document: Document, override: str) -> None:
    shown = override if len(override) <= _MAX_SHOWN else f"{override[:_MAX_SHOWN]}..."
    place = f"{OVERRIDE}{shown}"
    name, sign, text = override.partition("=")
    key: Key = tuple(name.strip().split("."))
    if not sign or not all(key):
        fix = "write it as section.key=value, such as --set train.epochs=5"
        document.problems.append(Problem(place, f"{shown!r} is not an override", fix))
        return
    try:
        value = read_value(text.strip(), key)
    except RecipeError as error:
        document.problems.append(Problem(place, error.what))
        return
    _put(document, key, value, place=place)


def _put(document: Document, key: Key, value: Any, *, place: str) -> None:
    """Set one value; a mapping is applied key by key, so that it never replaces a section.

    An empty one empties a table of the user's own names, such as `data.filters`.
    """
    if isinstance(value, dict) and (value or "properties" in (node_at(key) or ())):
        for name, below in value.items():
            _put(document, (*key, name), below, place=place)
        return
    section: Any = document.values
    for depth, part in enumerate(key[:-1], start=1):
        if isinstance(section, dict) and part not in section:
            section[part] = {}
            document.places[key[:depth]] = place
        section = section[part] if isinstance(section, dict) else None
    if isinstance(section, dict):
        section[key[-1]] = value
        document.places[key] = place
    else:
        what = f"{dotted(key)}: {dotted(key[:-1])} is a setting, not a section"
        document.problems.append(Problem(place, what))


def _validated(document: Document, *, name: str) -> Recipe:
    problems = list(document.problems)
    try:
        recipe = Recipe.model_validate(document.values)
    except ValidationError as error:
        problems.extend(_explained(error, document, name=name))
    if problems:
        raise _as_error(problems, name=name)
    return recipe


def _explained(error: ValidationError, document: Document, *, name: str) -> Iterator[Problem]:
    details = error.errors(include_url=False)
    faulty = [detail["loc"] for detail in details]
    for detail in details:
        loc = detail["loc"]
        # An outer list that is too short only repeats the errors of the values inside it.
        is_echo = detail["type"] == "too_short" and any(
            other[: len(loc)] == loc and other != loc for other in faulty
        )
        if not is_echo:
            key = tuple(part for part in loc if part != "[key]")
            place = _place(document, key, name=name)
            yield Problem(place, *_what_and_fix(detail, key))


def _what_and_fix(detail: ErrorDetails, key: Key) -> tuple[str, str]:
    if detail["type"] == "extra_forbidden" or detail["loc"][-1:] == ("[key]",):
        return _unknown_key(key)
    if detail["type"] == "value_error":
        return f"{dotted(key)}: {detail['msg'].removeprefix('Value error, ')}".lstrip(": "), ""
    node, value = node_at(key), detail["input"]
    wanted = allowed(node) if node is not None else detail["msg"]
    if detail["type"] == "less_than_equal" and "<=" not in wanted:
        largest = detail["ctx"]["le"]
        return f"{dotted(key)} must be at most {largest:.12g}; it is {_shown(value)}", ""
    needs_list = accepts(node, "array") and isinstance(value, str | int | float)
    # As in YAML, without the quotes of Python.
    fix = "write [{}]".format(_shown(value).strip("'")) if needs_list else ""
    near = None if needs_list else nearest_choice(node, value)
    fix = f"did you mean {near}?" if near else fix
    return f"{dotted(key)} must be {wanted}; it is {_shown(value)}", fix


def _unknown_key(key: Key) -> tuple[str, str]:
    near = nearest_key(key)
    if near:
        return f"unknown setting {dotted(key)}", f"did you mean {near}?"
    section = dotted(key[:-1]) or "a recipe"
    return (
        f"unknown setting {dotted(key)}",
        f"{section} accepts: {', '.join(section_keys(key[:-1]))}",
    )


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _place(document: Document, key: Key, *, name: str) -> str:
    """Return where a key is set: an override of it or below it, its line, or its section's line."""
    places = document.places
    below = [place for at, place in places.items() if at[: len(key)] == key]
    overrides = [place for place in below if place.startswith(OVERRIDE)]
    if overrides:
        return overrides[-1]
    above = (places[key[:n]] for n in range(len(key), 0, -1) if key[:n] in places)
    return next(above, name)


def _as_error(problems: Sequence[Problem], *, name: str) -> RecipeError:
    if len(problems) == 1:
        (only,) = problems
        return RecipeError(only.what, where=only.place, fix=only.fix or _SHOW_ALL)
    lines = [f"{len(problems)} settings cannot be used"]
    for problem in problems:
        fix = f" ({problem.fix})" if problem.fix else ""
        lines.append(f"  {problem.place}: {problem.what}{fix}")
    return RecipeError(
        "\n".join(lines),
        where=name,
        fix=_SHOW_ALL,
    )
