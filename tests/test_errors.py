"""Errors state what is wrong, where, and the fix, also after a transfer between processes."""

from __future__ import annotations

import ast
import pickle
from pathlib import Path

import pytest

from captune import errors
from captune.errors import CaptuneError, ImageError

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and kind.__module__ == errors.__name__
]


def test_an_error_prints_what_where_and_the_fix() -> None:
    error = CaptuneError("no images", where="data.path", fix="give a folder")
    assert str(error) == "no images\n  where: data.path\n  fix:   give a folder"
    assert str(CaptuneError("no images")) == "no images"


def test_a_value_of_any_size_fills_no_screen() -> None:
    long = "x" * 10_000
    error = CaptuneError(f"{long} is no caption\n  {long}\nlast", where=long, fix=f"remove {long}")
    lines = str(error).split("\n")
    assert len(lines) == 5
    assert max(map(len, lines)) < 2100
    end = f"{'x' * 486} is no caption"
    assert lines[0] == f"{'x' * 1500}… (8,014 more characters) …{end}"
    assert error.what.startswith(long)


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_is_a_users_error_and_survives_pickling(kind: type[CaptuneError]) -> None:
    error = pickle.loads(pickle.dumps(kind("a", where="b", fix="c")))
    assert type(error) is kind
    assert (error.what, error.where, error.fix, error.exit_code) == ("a", "b", "c", 2)


def test_an_image_error_is_a_data_error() -> None:
    assert issubclass(ImageError, errors.DataError)


def find_calls_without_fix(source: str) -> list[int]:
    """Return the lines that create an error without stating the fix."""
    names = {kind.__name__ for kind in KINDS} - {"ImageError"} | {"ProcessError"}
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in names
        and not any(keyword.arg in ("fix", None) for keyword in node.keywords)
    ]


@pytest.mark.slow
def test_every_error_in_the_code_states_a_fix() -> None:
    assert find_calls_without_fix("raise DataError('a')\nraise DataError('a', fix='b')") == [1]
    package = Path(errors.__file__).parent
    without = {
        f"{path.relative_to(package)}, line {line}"
        for path in package.rglob("*.py")
        for line in find_calls_without_fix(path.read_text(encoding="utf-8"))
    }
    assert without == set()
