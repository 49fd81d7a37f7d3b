"""Flags that several commands share: a function turns them into one argument of the command.

`@takes("reading", read_options)` gives a command every parameter of `read_options` as a flag, and
the return value of that function as the argument `reading`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, get_type_hints

Command = Callable[..., Any]


def takes(name: str, build: Command) -> Callable[[Command], Command]:
    """Return a decorator: `build` makes the command's argument `name` from flags of its own.

    Args:
        name: A parameter of the command; its type need not be importable.
        build: Its parameters, annotated for typer, follow those of the command.
    """

    def decorate(command: Command) -> Command:
        own = _parameters(command, but=name)
        given = _parameters(build)

        @functools.wraps(command)
        def run(**values: Any) -> Any:
            made = build(**{key: values.pop(key) for key in given})
            return command(**values, **{name: made})

        parameters = {**own, **given}
        # typer reads both attributes.
        run.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
        run.__annotations__ = {key: p.annotation for key, p in parameters.items()}
        return run

    return decorate


def _parameters(function: Command, *, but: str = "") -> dict[str, inspect.Parameter]:
    """Return the parameters with evaluated annotations, all keyword-only."""
    found = {k: p for k, p in inspect.signature(function).parameters.items() if k != but}
    written = SimpleNamespace(__annotations__={k: p.annotation for k, p in found.items()})
    names = getattr(inspect.unwrap(function), "__globals__", {})
    hints = get_type_hints(written, globalns=names, include_extras=True)
    return {
        key: parameter.replace(annotation=hints[key], kind=inspect.Parameter.KEYWORD_ONLY)
        for key, parameter in found.items()
    }
