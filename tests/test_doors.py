"""How packages import each other: through `__init__`, without cycles; few modules per folder."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from support.places import ROOT

SOURCE = ROOT / "src" / "captune"
MAX_MODULES_PER_FOLDER = 12


def module_of(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_of(path): path for path in sorted(SOURCE.rglob("*.py"))}
PACKAGES = {module for module, path in FILES.items() if path.name == "__init__.py"}


def imports_of(module: str) -> Iterator[tuple[str, str]]:
    """Yield the captune modules that a module imports, each with the imported name."""
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name in FILES)
        elif isinstance(node, ast.ImportFrom) and node.module in FILES:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                is_module = inner in FILES and alias.name not in exported_by(node.module)
                yield (inner, "") if is_module else (node.module, alias.name)


def exported_by(module: str) -> set[str]:
    """Return the names in `__all__`: a function there hides a module of the same name."""
    for node in ast.parse(FILES[module].read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


def top_level(module: str) -> str:
    return ".".join(module.split(".")[:2])


def test_a_package_is_imported_through_its_init() -> None:
    # The top-level `__init__` shows type checkers names from any depth.
    deep = [
        f"{module} -> {target}"
        for module in FILES.keys() - {"captune"}
        for target, _ in imports_of(module)
        if top_level(target) != top_level(module) and target.count(".") > 1
    ]
    assert deep == []


def test_no_modules_import_each_other_in_a_cycle() -> None:
    graph: dict[str, set[str]] = defaultdict(set)
    for module in FILES:
        # A package's `__init__` does not count: an import of any of its modules runs it.
        graph[module] = {t for t, _ in imports_of(module) if t != module and t not in PACKAGES}
    assert sorted(find_cycles(graph)) == []


def find_cycles(graph: dict[str, set[str]]) -> set[str]:
    """Return the modules from which a path of imports leads back to them."""
    found = set()
    for start in list(graph):
        seen: set[str] = set()
        waiting = list(graph[start])
        while waiting:
            module = waiting.pop()
            if module not in seen:
                seen.add(module)
                waiting.extend(graph.get(module, ()))
        if start in seen:
            found.add(start)
    return found


def test_a_cycle_is_found() -> None:
    assert find_cycles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == {"b", "c"}


def test_folders_hold_few_modules() -> None:
    folders: dict[str, int] = defaultdict(int)
    for path in FILES.values():
        folders[str(path.parent.relative_to(SOURCE))] += path.name != "__init__.py"
    assert {name: n for name, n in folders.items() if n > MAX_MODULES_PER_FOLDER} == {}


def test_every_public_name_is_defined_once() -> None:
    homes: dict[str, list[str]] = defaultdict(list)
    # A command has the name of the function that it calls.
    commands = {module for module in FILES if re.fullmatch(r"captune\.(cli\.\w+|notebook)", module)}
    for module, path in FILES.items():
        if module in commands:
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            is_definition = isinstance(node, ast.FunctionDef | ast.ClassDef)
            if is_definition and not node.name.startswith("_"):
                homes[node.name].append(module)
    assert {name: where for name, where in homes.items() if len(where) > 1} == {}
