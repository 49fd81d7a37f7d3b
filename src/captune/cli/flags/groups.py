"""Flags that several commands have, written once: a command takes what a function makes of them.

`@takes("reading", read_options)` gives a command every parameter of `read_options` as a flag, and
what that function returns as the argument `reading`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, get_type_hints

Command = Callable[..., Any]


def takes(name: str, build: Command) -> Callable[[Command], Command]:
    """A decorator: the command's parameter `name` is made by `build`, from flags of its own.

    Args:
        name: A parameter of the command; its type need not be importable.
        build: Its parameters, annotated for typer, come behind those of the command.
    """

    def decorate(command: Command) -> Command:
        own = _parameters(command, but=name)
        given = _parameters(build)

        @functools.wraps(command)
        def run(**values: Any) -> Any:
            made = build(**{key: values.pop(key) for key in given})
            return command(**values, **{name: made})

        parameters = {**own, **given}
        # typer reads both.
        run.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
        run.__annotations__ = {key: p.annotation for key, p in parameters.items()}
        return run

    return decorate


def _parameters(function: Command, *, but: str = "") -> dict[str, inspect.Parameter]:
    """Parameters with their annotations evaluated, all given by name."""
    found = {k: p for k, p in inspect.signature(function).parameters.items() if k != but}
    written = SimpleNamespace(__annotations__={k: p.annotation for k, p in found.items()})
    names = getattr(inspect.unwrap(function), "__globals__", {})
    hints = get_type_hints(written, globalns=names, include_extras=True)
    return {
        key: parameter.replace(annotation=hints[key], kind=inspect.Parameter.KEYWORD_ONLY)
        for key, parameter in found.items()
    }
