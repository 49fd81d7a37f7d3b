"""Short value names and defaults in the help of every command, so that 80 columns suffice.

typer shows Python's types (`<int range>`, all names of a choice), which leaves little room for the
descriptions, and wraps a default given as text in brackets of its own. It also keeps the line
breaks of a docstring, which are wrong on a terminal of another width than the code.
"""

from __future__ import annotations

import inspect
import re
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

_MAX_CHOICES = 18
"""Longest list of choices, in characters, that is shown in place of a value's name."""

_MAX_RANGE = len("x>=1000000")

_NAMES = {int: "N", float: "X", Path: "PATH", str: "TEXT"}

_LINE_BREAK = re.compile(r"(?<!\n)\n(?!\n)")
"""A line break inside a paragraph."""


def shorten_help(command: Any) -> None:
    """Give the options of a click command short value names, and plain defaults.

    Its paragraphs become one line each, which the terminal wraps.

    Args:
        command: A command that typer has built; it is changed.
    """
    command.help = _LINE_BREAK.sub(" ", command.help or "")
    hints: dict[str, Any] = {}
    if command.callback is not None:
        function = inspect.unwrap(command.callback, stop=lambda f: hasattr(f, "__signature__"))
        hints = get_type_hints(function, include_extras=True)
    # Created here; the command keeps it for its help.
    for parameter in (*command.params, command.get_help_option(typer.Context(command))):
        if parameter.param_type_name == "argument":
            # Its name and description say what it is.
            parameter.display_type_rich = _show_no_type
            parameter.metavar = parameter.metavar or parameter.name.upper()
        elif getattr(parameter, "is_flag", False):
            # A flag has no value; typer would show its type as one.
            parameter.metavar = " "
        elif parameter.metavar is None:
            _drop_long_range(parameter)
            _name_value(parameter, _value_type(hints.get(parameter.name)))
        if isinstance(parameter.show_default, str):
            described = (parameter.help or "").rstrip()
            parameter.help = f"{described} Default: {parameter.show_default}.".strip()
            parameter.show_default = False


def _name_value(option: Any, kind: Any) -> None:
    names = [str(name) for name in get_args(kind)] if get_origin(kind) is Literal else []
    if isinstance(kind, type) and issubclass(kind, Enum):
        names = [str(member.value) for member in kind]
    is_short = len("|".join(names)) <= _MAX_CHOICES
    choices = "|".join(names) if is_short else "NAME"
    option.metavar = choices if names else _NAMES.get(kind)
    if not is_short and any(name not in option.help for name in names):
        option.help += f" One of {', '.join(names)}."


def _drop_long_range(option: Any) -> None:
    """Show `[x>=1]` but not `[0.0<=x<=86400.0]`: the error states it where it matters."""
    describe = getattr(option, "_get_number_range_help_str", None)
    if describe is not None and len(describe() or "") > _MAX_RANGE:
        option._get_number_range_help_str = _show_no_range


def _show_no_range() -> None:
    """Replace typer's method that describes the range of a number."""


def _show_no_type(ctx: object) -> None:
    """Replace typer's method of an argument that returns its type for the help."""
    del ctx


def _value_type(hint: Any) -> Any:
    """Return the type of one value: without `None`, `list` and typer's mark."""
    if get_origin(hint) is Annotated:
        return _value_type(get_args(hint)[0])
    parts = [part for part in get_args(hint) if part is not type(None)]
    if get_origin(hint) in (None, Literal) or not parts:
        return hint
    return _value_type(parts[0])
