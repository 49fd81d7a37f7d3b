"""The generated parts of the reference: command line, recipe and Python names, from the code.

A page in docs/reference has a marker where the generated part goes, so that it can be read on a
forge, and the site is never out of date.
"""

from __future__ import annotations

import inspect
import re
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

import captune
from captune.cli.app import COMMANDS, load_command
from captune.recipe import Recipe
from captune.recipe.schema_words import allowed, node_at


def command_line() -> str:
    """Return every command with its arguments and flags, as Markdown."""
    parts = []
    for name in COMMANDS:
        command = load_command(name)
        inner = getattr(command, "commands", None)
        for words, one in (
            [(f"{name} {sub}", c) for sub, c in inner.items()] if inner else [(name, command)]
        ):
            parts += _command(f"captune {words}", one, COMMANDS[name].examples)
    return "\n".join(parts)


def _command(title: str, command: Any, examples: tuple[str, ...]) -> Iterator[str]:
    yield from (f"## `{title}`", "", _about(command.help or ""), "")
    shown = [f"captune {words}" for words in examples if f"captune {words}".startswith(title)]
    if shown:
        yield from ("```sh", *shown, "```", "")
    visible = [parameter for parameter in command.params if not parameter.hidden]
    if visible:
        yield from ("| argument or flag | default | meaning |", "|---|---|---|")
        yield from map(_parameter, visible)
        yield ""


def _about(text: str) -> str:
    """Return a command's help without its examples, which follow as code."""
    return _cell(re.split(r"\s*\bExamples?:", text)[0]).strip()


def _parameter(parameter: Any) -> str:
    metavar = (parameter.metavar or "").strip()
    if parameter.param_type_name == "argument":
        name = f"`{metavar or parameter.name.upper()}`"
    else:
        flags = ", ".join(f"`{flag}`" for flag in (*parameter.opts, *parameter.secondary_opts))
        choices = typing.get_args(parameter.type_descriptor.annotation)
        words = metavar or ("|".join(map(str, choices)) if _is_literal(parameter) else "")
        name = f"{flags} `{words}`" if words else flags
    return f"| {_code_cell(name)} | {_cell(_default(parameter))} | {_cell(parameter.help or '')} |"


def _is_literal(parameter: Any) -> bool:
    return typing.get_origin(parameter.type_descriptor.annotation) is typing.Literal


def _default(parameter: Any) -> str:
    if isinstance(parameter.show_default, str):
        return parameter.show_default
    if parameter.required:
        return "required"
    value = parameter.default
    if value is None or value is False or callable(value) or not parameter.show_default:
        return ""
    return "on" if value is True else f"`{value}`"


def recipe() -> str:
    """Return every setting of a recipe with its default, range and meaning, as Markdown."""
    return "\n".join(_section(Recipe, ()))


def _section(model: type[BaseModel], key: tuple[str, ...]) -> Iterator[str]:
    below: list[tuple[tuple[str, ...], type[BaseModel], str]] = []
    rows = []
    for name, field in model.model_fields.items():
        inner = _model_of(field.annotation)
        if inner is not None:
            below.append(((*key, name), inner, field.description or ""))
            continue
        node = node_at((*key, name))
        default = "required" if field.is_required() else f"`{_as_yaml(field)}`"
        words = allowed(node) if node is not None else ""
        rows.append(
            f"| `{'.'.join((*key, name))}` | {_code_cell(default)} | {_cell(words)} "
            f"| {_cell(field.description or '')} |"
        )
    if rows:
        yield from ("| setting | default | allowed | meaning |", "|---|---|---|---|", *rows, "")
    for inner_key, inner, description in below:
        level = "#" * (1 + len(inner_key))
        yield from (f"{level} `{'.'.join(inner_key)}`", "", _cell(description), "")
        yield from _section(inner, inner_key)


def _model_of(annotation: Any) -> type[BaseModel] | None:
    for part in (annotation, *typing.get_args(annotation)):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


def _as_yaml(field: Any) -> str:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    if isinstance(value, Mapping):
        return "{}" if not value else str(dict(value))
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value) or '""'


def python_names() -> str:
    """Return signature and docstring of every public name, as Markdown."""
    parts = []
    for name in sorted(set(captune.__all__) - {"__version__"}, key=str.lower):
        thing = getattr(captune, name)
        parts += [f"### `captune.{name}`", "", "```text", _signature(name, thing), "```", ""]
        parts += [*_docstring(thing), ""]
        if inspect.isclass(thing) and thing.__module__.startswith("captune"):
            parts += _methods(thing)
    return "\n".join(parts)


def _methods(thing: type) -> Iterator[str]:
    own = vars(thing)
    for name in own:
        member = inspect.getattr_static(thing, name)
        function = getattr(member, "__func__", member)
        if name.startswith("_") or not inspect.isfunction(function) or not function.__doc__:
            continue
        yield from (f"#### `{thing.__name__}.{name}`", "")
        yield from ("```text", _signature(name, getattr(thing, name)), "```", "")
        yield from (*_docstring(function), "")


def _signature(name: str, thing: Any) -> str:
    try:
        signature = inspect.signature(thing)
    except (TypeError, ValueError):
        return name
    # Annotations are text, which Python shows in quotes.
    flat = _unquoted(f"{name}{signature}")
    if len(flat) <= 96:
        return flat
    inner = [str(parameter) for parameter in signature.parameters.values()]
    first = next(
        (i for i, p in enumerate(signature.parameters.values()) if p.kind is p.KEYWORD_ONLY), -1
    )
    if first >= 0 and not any(text[:1] == "*" for text in inner):
        inner.insert(first, "*")
    returns = signature.return_annotation
    tail = "" if returns is inspect.Signature.empty else f" -> {returns!r}"
    return _unquoted(f"{name}(\n    " + ",\n    ".join(inner) + f",\n){tail}")


def _unquoted(signature: str) -> str:
    return re.sub(r"(: |-> )'([^']*)'", r"\1\2", signature)


_HEADS = ("Args:", "Returns:", "Raises:", "Attributes:", "Source:", "Yields:")


def _docstring(thing: Any) -> list[str]:
    """Return a Google docstring as Markdown: its sections become lists."""
    lines: list[str] = []
    in_section = False
    for line in inspect.cleandoc(inspect.getdoc(thing) or "").splitlines():
        if line.strip() in _HEADS:
            in_section = True
            lines += ["", f"*{line.strip()}*", ""]
        elif in_section and re.match(r"    [\w`*]+(?: \([^)]*\))?: ", line):
            key, _, text = line.strip().partition(": ")
            lines.append(f"- `{key.strip('`')}`: {text}")
        elif in_section and line.startswith("    "):
            lines.append(f"  {line.strip()}")
        else:
            in_section = in_section and not line.strip()
            lines.append(line)
    return lines


def _cell(text: str) -> str:
    """Return text for a cell of a table: one line, with no character that ends the cell."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _code_cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


PAGES: Mapping[str, Callable[[], str]] = {
    "command-line": command_line,
    "recipe": recipe,
    "python-names": python_names,
}
"""What a marker `<!-- generated: NAME -->` stands for."""

if __name__ == "__main__":
    sys.stdout.write(PAGES[sys.argv[1]]())
