"""Every code that a server's errors can have, read from its source."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from captune.serving import errors

_CODE = re.compile(r"[a-z]+(_[a-z]+)+")


def server_codes() -> set[str]:
    """Return the codes of all errors that a client can receive."""
    found = {code for code, _, _ in errors._IMAGES.values()}
    for path in Path(errors.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "ApiError":
                found |= _strings(node.args[1:2])
            elif isinstance(node, ast.Dict) and _are_statuses(node.keys):
                # The framework's errors by status: {404: "not_found"}.
                found |= {code for code in _strings(node.values) if _CODE.fullmatch(code)}
    # Its client has closed the connection.
    return found - {"client_left"}


def _strings(nodes: list[ast.expr]) -> set[str]:
    values = {node.value for node in nodes if isinstance(node, ast.Constant)}
    return {value for value in values if isinstance(value, str)}


def _are_statuses(nodes: list[ast.expr | None]) -> bool:
    values = [node.value if isinstance(node, ast.Constant) else None for node in nodes]
    return bool(values) and all(isinstance(one, int) and 400 <= one < 600 for one in values)
