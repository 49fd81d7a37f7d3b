"""Sizes, layers, names and light imports of the code, so that decay fails a test."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "captune"
FILES = sorted(SOURCE.rglob("*.py"))
TESTS_AND_MORE = [*FILES, *sorted((ROOT / "tests").rglob("*.py"))]

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 50
MAX_STATEMENTS = 40
MAX_PARAMETERS = 6
MAX_POSITIONAL = 2
# A private function is read beside its only callers.
MAX_POSITIONAL_PRIVATE = 3
# Names that say nothing about the content.
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "misc", "tools", "stuff"}
# Each option of a command is a parameter of its function.
COMMAND_LINE = SOURCE / "cli"
LIGHT = ("", ".cli", ".metrics", ".recipe", ".records", ".hub", ".storage", ".errors", ".progress")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """Return the classes, functions and exception handlers of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef, ast.ExceptHandler)
    return tuple(node for node in ast.walk(tree) if isinstance(node, kinds))


def functions(path: Path) -> Iterator[tuple[Function, bool]]:
    """Yield every function of a file, and whether it is a method."""
    methods = {
        id(child)
        for node in nodes(path)
        if isinstance(node, ast.ClassDef)
        for child in node.body
        if not _is_static(child)
    }
    for node in nodes(path):
        if isinstance(node, Function):
            yield node, id(node) in methods


def _is_static(node: ast.stmt) -> bool:
    return isinstance(node, Function) and any(
        isinstance(mark, ast.Name) and mark.id == "staticmethod" for mark in node.decorator_list
    )


def count_statements(function: Function) -> int:
    """Count like pylint: every statement in the body at any depth, without the docstring."""
    inner = [node for node in ast.walk(function) if isinstance(node, ast.stmt)]
    return len(inner) - 1 - (ast.get_docstring(function) is not None)


def test_the_source_files_are_found() -> None:
    assert len(FILES) > 50
    assert sum(1 for path in FILES for _ in functions(path)) > 300


def test_pytest_skips_no_folder_of_tests(pytestconfig: pytest.Config) -> None:
    skipped = pytestconfig.getini("norecursedirs")
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "tests").rglob("test_*.py")}
    names = {part for folder in folders for part in folder.parts}
    assert {name for name in names for glob in skipped if fnmatch(name, glob)} == set()


def test_no_file_is_longer_than_the_limit() -> None:
    sizes = {name_of(path): len(path.read_text().splitlines()) for path in TESTS_AND_MORE}
    assert {name: size for name, size in sizes.items() if size > MAX_FILE_LINES} == {}


def test_no_function_is_longer_than_the_limits() -> None:
    too_long = [
        f"{name_of(path)}:{function.lineno} {function.name}"
        for path in FILES
        for function, _ in functions(path)
        if _lines_of_code(function) > MAX_FUNCTION_LINES
        or count_statements(function) > MAX_STATEMENTS
    ]
    assert too_long == []


def _lines_of_code(function: Function) -> int:
    """Return the number of lines of the body, without the docstring."""
    first = function.body[0]
    if ast.get_docstring(function) is None:
        start = first.lineno
    else:
        start = (first.end_lineno or first.lineno) + 1
    return (function.end_lineno or start) - start + 1


def test_parameters_are_few_and_all_but_two_are_keyword_only() -> None:
    faults = [
        f"{name_of(path)}:{function.lineno} {function.name}"
        for path in FILES
        if not path.is_relative_to(COMMAND_LINE)
        for function, is_method in functions(path)
        if not _is_special(function) and _has_too_many(function, is_method=is_method)
    ]
    assert faults == []


def _is_special(function: Function) -> bool:
    """Return whether Python or a base class of another library sets the signature."""
    is_override = any(
        isinstance(mark, ast.Name) and mark.id == "override" for mark in function.decorator_list
    )
    return function.name.startswith("__") or function.name == "forward" or is_override


def _has_too_many(function: Function, *, is_method: bool) -> bool:
    positional = len(function.args.posonlyargs) + len(function.args.args) - is_method
    total = positional + len(function.args.kwonlyargs)
    limit = MAX_POSITIONAL_PRIVATE if function.name.startswith("_") else MAX_POSITIONAL
    return positional > limit or total > MAX_PARAMETERS


def test_no_module_has_a_meaningless_name() -> None:
    names = {name_of(path): set(path.relative_to(SOURCE).with_suffix("").parts) for path in FILES}
    assert [name for name, parts in names.items() if parts & FORBIDDEN_NAMES] == []


def test_every_file_starts_with_a_docstring() -> None:
    first_lines = {name_of(path): path.read_text(encoding="utf-8")[:4] for path in TESTS_AND_MORE}
    bare = [name for name, line in first_lines.items() if not line.startswith(('"""', 'r"""'))]
    assert bare == []


def test_blanket_excepts_are_only_at_the_two_borders() -> None:
    borders = {"src/captune/cli/app.py", "src/captune/serving/server.py"}
    found = {
        name_of(path)
        for path in FILES
        for node in nodes(path)
        if isinstance(node, ast.ExceptHandler) and _is_blanket(node.type)
    }
    assert found <= borders


def _is_blanket(caught: ast.expr | None) -> bool:
    names = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(
        name is None or (isinstance(name, ast.Name) and name.id in ("Exception", "BaseException"))
        for name in names
    )


def test_imports_go_down_only() -> None:
    # In a new process: the console would keep the stderr of an earlier test.
    script = "from importlinter.cli import lint_imports; import sys; sys.exit(lint_imports())"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("module", LIGHT)
def test_light_packages_do_not_import_torch(module: str) -> None:
    script = f"import captune{module}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
