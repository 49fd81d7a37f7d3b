"""No setting is unused: each is read somewhere outside the schema."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import captune
from captune.recipe.schema import Recipe, Section

SOURCES = Path(captune.__file__).parent


def settings(section: type[Section]) -> Iterator[str]:
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from settings(kind)
        else:
            yield name


def attributes_read() -> set[str]:
    names = set()
    for path in SOURCES.rglob("*.py"):
        if path.parent.name == "recipe":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                names.add(node.attr)
    return names


def test_every_setting_is_read_somewhere() -> None:
    unread = set(settings(Recipe)) - attributes_read()
    assert unread == set()
