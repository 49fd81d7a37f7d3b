"""A recipe as YAML, with the meaning of every setting; each run saves it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from captune.recipe.schema import Recipe
from captune.recipe.schema_words import Key, allowed, node_at
from captune.storage import write_text
from captune.text_safety import escape_steering

_COMMENT_COLUMN = 40
_FIRST_WORDS = "# Every setting of this recipe"
_OBVIOUS = ("", "text", "text, or null", "true or false", "a list of text")


def dump_recipe(recipe: Recipe) -> str:
    """Return YAML with every setting of `recipe`, each with its meaning and range as a comment.

    `parse_recipe` of the text returns an equal recipe.
    """
    lines = [f"{_FIRST_WORDS}: meaning (what is allowed).", *_section(recipe, ())]
    return "\n".join(lines) + "\n"


def is_dump(path: Path) -> bool:
    """Return whether a file begins as `dump_recipe` does; other files are somebody's own."""
    try:
        with path.open("rb") as file:
            return file.read(len(_FIRST_WORDS)) == _FIRST_WORDS.encode()
    except OSError:
        return False


def dump_changed(recipe: Recipe) -> str:
    """Return YAML with only the settings that differ from their defaults: a recipe by itself."""
    changed = _changed(recipe.model_dump(mode="json"), Recipe().model_dump(mode="json"))
    if not changed:
        return ""
    text = _dump(changed, allow_unicode=True, is_flow=False)
    is_safe = all(escape_steering(line) == line for line in text.split("\n"))
    return text if is_safe else _dump(changed, allow_unicode=False, is_flow=False)


def flat_settings(recipe: Recipe) -> dict[str, Any]:
    """Return every setting by its dotted key, such as `train.epochs`, as a JSON value."""
    return dict(_flat(recipe.model_dump(mode="json"), ""))


def _changed(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    changed = {}
    for key, value in settings.items():
        default = defaults.get(key)
        if isinstance(value, dict) and isinstance(default, dict):
            value = _changed(value, default)  # noqa: PLW2901
            if not value:
                continue
        elif value == default:
            continue
        # A person writes 9 epochs, not 9.0.
        is_whole = isinstance(value, float) and value.is_integer()
        changed[key] = int(value) if is_whole else value
    return changed


def _flat(settings: Mapping[str, Any], start: str) -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{start}{key}.")
        else:
            yield start + key, value


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write `dump_recipe(recipe)` to a file, atomically.

    Raises:
        OutputError: The place cannot be written.
    """
    write_text(path, dump_recipe(recipe))


def _section(section: BaseModel, key: Key) -> Iterator[str]:
    indent = "  " * len(key)
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        below = (*key, name)
        if isinstance(value, BaseModel):
            yield from ("", f"{indent}# {field.description}", f"{indent}{name}:")
            yield from _section(value, below)
        else:
            setting = f"{indent}{name}: {_as_yaml(value)}"
            comment = f"# {field.description}{_allowed_note(below)}"
            yield f"{setting:<{_COMMENT_COLUMN}}  {comment}"


def _allowed_note(key: Key) -> str:
    node = node_at(key)
    words = allowed(node) if node is not None else ""
    return f" ({words})" if words not in _OBVIOUS else ""


class _Dumper(yaml.SafeDumper):
    """Quotes texts that a YAML 1.2 reader would take for numbers, besides those of 1.1."""


_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?[0-9.]+[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)


def _as_yaml(value: Any) -> str:
    plain = list(value) if isinstance(value, tuple) else value
    text = _dump(plain, allow_unicode=True)
    if escape_steering(text.rstrip("\n")) != text.rstrip("\n"):
        # Direction marks and the like become escapes such as "\\u202E".
        text = _dump(plain, allow_unicode=False)
    # Only spaces and line ends: a no-break space is text.
    return text.removesuffix("\n").removesuffix("\n...").strip(" \n")


def _dump(value: Any, *, allow_unicode: bool, is_flow: bool = True) -> str:
    text: str = yaml.dump(
        value,
        Dumper=_Dumper,
        default_flow_style=is_flow,
        sort_keys=False,
        width=float("inf"),
        allow_unicode=allow_unicode,
    )
    return text
