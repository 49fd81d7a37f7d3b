"""Explain environment variables that another package read while a command worked, and refused.

accelerate reads dozens of them, those of launchers among them, and raises what the reading raises:
`LOCAL_RANK=abc` is a ValueError of `int`, `ACCELERATE_USE_CPU=maybe` an "invalid truth value".
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from traceback import walk_tb

from captune.cli.findings.import_faults import names_in_source, show_variable
from captune.errors import CaptuneError, EnvironmentValueError, error_chain

_OWN = "captune"


def explain_variables(
    error: BaseException, environment: Mapping[str, str] = os.environ
) -> CaptuneError | None:
    """Return an error about a value that another package read as one that names the variable.

    Args:
        error: What reached the command line.
        environment: The environment variables.

    Returns:
        The error; `None`: no variable is known to be the cause.
    """
    for each in reversed([*error_chain(error)]):
        reason = " ".join(str(each).split())
        reads = [*_iter_reads(each)]
        for package, names in reads:
            wrong = [name for name in names if _is_in(reason, name, environment.get(name))]
            if wrong:
                given = {name for _, own in reads for name in own if environment.get(name)}
                what = f"{package} refuses the environment: {type(each).__name__}: {reason}"
                return _refuse(what, wrong, given=sorted(given), environment=environment)
    return None


def _refuse(
    what: str, names: list[str], *, given: list[str], environment: Mapping[str, str]
) -> CaptuneError:
    absent = [name for name in names if name not in environment]
    fix = f"correct or unset {' or '.join(names)}"
    if absent:
        fix = f"set {' and '.join(absent)}"
        # The variables of a launcher belong together.
        fix += f", or unset {' and '.join(given)}" if given else ""
    shown = (
        f"{name} is not set" if name in absent else show_variable(name, environment)
        for name in names
    )
    return EnvironmentValueError(what, where=", ".join(shown), fix=fix)


def _iter_reads(error: BaseException) -> Iterator[tuple[str, list[str]]]:
    """Yield package and variables of each function at work, from the innermost to captune's."""
    for frame, line in reversed([*walk_tb(error.__traceback__)]):
        package = str(frame.f_globals.get("__name__", "?")).partition(".")[0]
        if package == _OWN:
            return
        code = frame.f_code
        names = names_in_source(code.co_filename, line, start=code.co_firstlineno)
        yield package, sorted(names)


def _is_in(reason: str, name: str, value: str | None) -> bool:
    """Return whether a message is about a variable: it has its name or its value."""
    if re.search(rf"\b{name}\b", reason) or (value is not None and repr(value) in reason):
        return True
    # A plain number may be anything.
    is_word = bool(value) and not str(value).isdecimal()
    return is_word and re.search(rf"(?<!\w){re.escape(str(value))}(?!\w)", reason) is not None
