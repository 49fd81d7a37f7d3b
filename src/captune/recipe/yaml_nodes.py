"""YAML to plain values as the schema expects them, with the line of each key.

YAML 1.1, which PyYAML reads, turns `off` and `no` into booleans, leaves `1e-5` as text and reads
`012` as octal. Here a text setting gets the text as written, and everything else follows
YAML 1.2: only `true` and `false` are booleans, and 1e-5 is a number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from captune.errors import RecipeError
from captune.recipe.schema_words import Key, Node, accepts, child, node_at

_INT = re.compile(r"[-+]?[0-9]+|0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_MAX_DIGITS = 400
_NULL = ("", "~", "null", "Null", "NULL")
_BOOLEANS = {"true": True, "True": True, "false": False, "False": False}
_TAGS = ("str", "map", "seq")


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem in a recipe.

    Attributes:
        place: File and line, or the `--set` text.
        what: The fault, with the key and the value.
        fix: What to write instead; empty if `what` states it.
    """

    place: str
    what: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """Plain values with the place of each key.

    Attributes:
        values: Nested plain values, ready for the schema.
        places: Key -> file and line, or `--set` text.
        problems: Problems of the text itself, such as a duplicate key.
    """

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[Key, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def read_document(text: str, *, name: str) -> Document:
    """Read the values and places of a recipe from YAML text.

    Args:
        text: YAML.
        name: The file, for errors.

    Raises:
        RecipeError: The text is not YAML, is not a mapping, or has several documents or anchors.
    """
    node = _composed(text, name=name)
    if not isinstance(node, yaml.MappingNode):
        raise RecipeError(
            f"recipe {name!r} holds no settings",
            where=f"{name}:1" if node else name,
            fix="start from a shipped recipe: captune recipes demo > my-recipe.yaml",
        )
    document = Document()
    reader = _Reader(document, name)
    document.values.update(reader.mapping(node, (), schema=node_at(())))
    return document


def read_value(text: str, key: Key) -> Any:
    """Return the value of `--set key=text`.

    Raises:
        RecipeError: The text is not YAML, and the setting accepts no plain text.
    """
    schema = node_at(key)
    try:
        node = _composed(text, name=".".join(map(str, key)))
    except RecipeError:
        if accepts(schema, "string"):
            return text
        raise
    if isinstance(node, yaml.ScalarNode) or node is None:
        return _override_scalar(node, schema, text)
    if accepts(schema, "string"):
        return text
    reader = _Reader(Document(), "--set")
    value = reader.value(node, key, schema=schema)
    if reader.document.problems:
        first = reader.document.problems[0]
        raise RecipeError(first.what, fix=first.fix or "correct this value")
    return value


def _override_scalar(node: yaml.ScalarNode | None, schema: Node | None, text: str) -> Any:
    is_plain = node is None or node.style is None
    # A value from a shell has no YAML comments: all of it counts.
    value = text if is_plain or node is None else node.value
    # Quoted, a setting of one text or several gets one: the place "Paris, France".
    is_list = accepts(schema, "array") and (is_plain or not accepts(schema, "string"))
    if is_list and value not in _NULL:
        items = child(schema, 0)
        return [_scalar(part.strip(), items, is_plain=True) for part in value.split(",")]
    return _scalar(value, schema, is_plain=is_plain)


class _Loader(yaml.SafeLoader):
    """Composes nodes only; the functions below read their values."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        # Aliases let a file of 1 kB describe gigabytes, and recipes are short.
        if self.check_event(yaml.AliasEvent):
            mark = self.get_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="anchors are not supported", problem_mark=mark)
        return super().compose_node(parent, index)


# No tag is guessed: `_scalar` reads the text as the schema expects it.
_Loader.yaml_implicit_resolvers = {}


def _composed(text: str, *, name: str) -> yaml.Node | None:
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise RecipeError(
            f"{name} is not readable as YAML: {error.problem or error.context}",
            where=f"{name}:{mark.line + 1}" if mark else name,
            fix="indent with spaces, one `key: value` per line; quote text that holds `: ` or ` #`",
        ) from error
    # ValueError: an escape such as "\\UFFFFFFFF", which is not a character.
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        reason = str(error).splitlines()[0]
        raise RecipeError(
            f"{name} is not readable as YAML: {reason}",
            fix="write the recipe again: captune recipes demo prints a complete one",
        ) from error
    return node


@dataclass(frozen=True, slots=True)
class _Reader:
    document: Document
    name: str

    def value(self, node: yaml.Node, key: Key, *, schema: Node | None) -> Any:
        if node.tag.rsplit(":", 1)[-1] not in _TAGS:
            self._complain(node, f"{dotted(key)}: tags such as {node.tag!r} are not supported")
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, key, schema=schema)
        if isinstance(node, yaml.SequenceNode):
            return self._sequence(node, key, schema=schema)
        plain = isinstance(node, yaml.ScalarNode) and node.style is None
        return _scalar(node.value, schema, is_plain=plain)

    def mapping(self, node: yaml.MappingNode, key: Key, *, schema: Node | None) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name_node, value_node in node.value:
            if not isinstance(name_node, yaml.ScalarNode):
                self._complain(name_node, "a key must be one word")
                continue
            name = name_node.value
            below = (*key, name)
            if name in values:
                first = self.document.places[below]
                self._complain(name_node, f"{dotted(below)} is given twice, first at {first}")
                continue
            self.document.places[below] = self._place(name_node)
            values[name] = self.value(value_node, below, schema=child(schema, name))
        return values

    def _sequence(self, node: yaml.SequenceNode, key: Key, *, schema: Node | None) -> list[Any]:
        values = []
        for number, item in enumerate(node.value):
            self.document.places[*key, number] = self._place(item)
            below = (*key, number)
            values.append(self.value(item, below, schema=child(schema, number)))
        return values

    def _place(self, node: yaml.Node) -> str:
        return f"{self.name}:{node.start_mark.line + 1}"

    def _complain(self, node: yaml.Node, what: str) -> None:
        self.document.problems.append(Problem(self._place(node), what))


def _scalar(text: str, schema: Node | None, *, is_plain: bool) -> Any:
    """Return the value of one scalar: quoted ones are text, plain ones follow the schema."""
    if is_plain and _means_null(text, schema):
        return None
    if not is_plain or accepts(schema, "string"):
        return text
    return _number_or_boolean(text, schema)


def _means_null(text: str, schema: Node | None) -> bool:
    """Return whether a plain scalar is null; it is empty text if the setting accepts no null."""
    return text in _NULL and (bool(text) or accepts(schema, "null"))


def _number_or_boolean(text: str, schema: Node | None) -> int | float | bool | str:
    is_numeric = accepts(schema, "integer") or accepts(schema, "number")
    # Pydantic would read true as the number 1.
    if text in _BOOLEANS and not is_numeric:
        return _BOOLEANS[text]
    # Python refuses to read or show thousands of digits, and no setting needs so many.
    if len(text) > _MAX_DIGITS:
        return text
    if _INT.fullmatch(text):
        return int(text, 10) if text.lstrip("+-").isdigit() else int(text, 0)
    return float(text) if _FLOAT.fullmatch(text) else text


def dotted(key: Key) -> str:
    """Return a key as it is written: `train.epochs`."""
    return ".".join(str(part) for part in key)


def file_name(path: Path) -> str:
    """Return a path for errors: relative to the working directory if it is inside it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
