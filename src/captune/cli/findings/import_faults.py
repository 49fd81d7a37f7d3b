"""Explain packages that cannot be imported: a value in the environment, or a broken installation.

Libraries read environment variables when they are imported, and a value that they cannot read
raises whatever the reading raises: `HF_HUB_DOWNLOAD_TIMEOUT=abc` is a ValueError of `int`.
"""

from __future__ import annotations

import errno
import linecache
import os
import re
import sys
from collections.abc import Iterator, Mapping
from traceback import walk_tb
from types import FrameType

from captune.cli.findings.system_faults import explain_system
from captune.errors import CaptuneError, EnvironmentValueError, MissingExtraError, error_chain

_WITHOUT_DOCSTRINGS = 2
_OWN = "captune"
_LINES_OF_STATEMENT = 3
_SYSTEM = frozenset((errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC))
"""Errors of the system, which may fall into an import: the package is not broken."""
_SECRETS = re.compile(r"TOKEN|KEY|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)


def explain_import(
    error: BaseException,
    environment: Mapping[str, str] = os.environ,
    *,
    optimization: int = sys.flags.optimize,
) -> CaptuneError | None:
    """Return an error raised while another package was imported as one with a fix.

    Args:
        error: What reached the command line.
        environment: The environment variables.
        optimization: Python's level; at 2, docstrings are missing, which transformers reads.

    Returns:
        The error; `None`: no import of another package failed.
    """
    failed = next(_iter_failed_imports(error), None)
    if failed is None:
        return None
    cause, frame, line = failed
    if isinstance(cause, MemoryError) or getattr(cause, "errno", None) in _SYSTEM:
        return explain_system(cause)
    package = str(frame.f_globals.get("__name__", "?")).partition(".")[0]
    reason = " ".join(str(cause).split()) or type(cause).__name__
    if isinstance(cause, ModuleNotFoundError) and cause.name and package == _OWN:
        return MissingExtraError(
            f"the package {cause.name} is not installed",
            fix="install captune again: pip install --upgrade captune",
        )
    if package == _OWN:
        return None
    place = f"{frame.f_code.co_filename}, line {line}"
    what = f"cannot import {package}: {type(cause).__name__}: {reason}"
    variables = _find_variables((frame.f_code.co_filename, line), reason, environment)
    if variables:
        return EnvironmentValueError(
            what,
            where=f"{', '.join(show_variable(name, environment) for name in variables)}; {place}",
            fix=f"correct or unset {' or '.join(variables)}",
        )
    fix = f"install it again: pip install --force-reinstall {package}"
    if optimization >= _WITHOUT_DOCSTRINGS:
        fix = "start Python without -OO, and unset PYTHONOPTIMIZE: packages read their docstrings"
    return MissingExtraError(what, where=place, fix=fix)


def _iter_failed_imports(error: BaseException) -> Iterator[tuple[BaseException, FrameType, int]]:
    """Yield the errors behind an error that ended an import, with the module and line of each."""
    # The first cause is the one that the others only report.
    for each in reversed([*error_chain(error)]):
        frames = [
            (frame, line)
            for frame, line in walk_tb(each.__traceback__)
            if frame.f_code.co_name == "<module>"
        ]
        if frames:
            yield each, *frames[-1]


def _find_variables(
    place: tuple[str, int], reason: str, environment: Mapping[str, str]
) -> list[str]:
    """Return the variables that may be at fault: with the value in the reason, or read there."""
    file, line = place
    quoted = [name for name, value in environment.items() if value and f"{value!r}" in reason]
    if quoted:
        return sorted(quoted)
    names = names_in_source(file, line)
    return sorted(name for name in names if environment.get(name))


def names_in_source(file: str, line: int, *, start: int = 1) -> set[str]:
    """Return the names of variables in the code that led to a line.

    Args:
        file: The file.
        line: The line, which may begin a longer statement; what is read later had no effect.
        start: The first line of the code.
    """
    source = "".join(linecache.getlines(file)[start - 1 : line + _LINES_OF_STATEMENT])
    return set(re.findall(r"['\"]([A-Z][A-Z0-9_]{2,})['\"]", source))


def show_variable(name: str, environment: Mapping[str, str]) -> str:
    """Return a variable and its value, unless that is a secret."""
    return f"{name}=..." if _SECRETS.search(name) else f"{name}={environment[name][:80]!r}"
