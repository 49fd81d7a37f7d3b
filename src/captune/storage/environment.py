"""What the environment of a process gives: the home folder, numbers and switches.

`Path.expanduser` and `Path.home` raise RuntimeError where a home folder is not known: for `~name`
of an unknown user, and in containers whose user id has no entry in the system's list.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

from captune.errors import EnvironmentValueError, OutputError


def expand_home(path: str | Path) -> Path:
    """Return a path with a leading `~` or `~name` replaced; unchanged if that home is not known."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def find_home(*, variable: str) -> Path:
    """Return the user's home folder.

    Args:
        variable: The environment variable that gives the folder needed without a home, for errors.

    Raises:
        OutputError: It is not known.
    """
    try:
        return Path.home()
    except RuntimeError as error:
        raise OutputError(
            "the home folder of this user is not known",
            where="HOME is not set, and the system has no entry for the user's id",
            fix=f"set {variable} to a folder that can be written, or set HOME",
        ) from error


def read_count(variable: str, default: int) -> int:
    """Return a whole number from 0 on, from an environment variable; the default if it is not set.

    Raises:
        EnvironmentValueError: Its value is something else.
    """
    given = os.environ.get(variable, "").strip()
    if given and not (given.isascii() and given.isdecimal() and len(given) < 10):
        raise _refuse(variable, "a whole number, 0 or more")
    return int(given) if given else default


def read_flag(variable: str) -> bool:
    """Return whether an environment variable switches something on, in any usual spelling."""
    return os.environ.get(variable, "").lower() in ("1", "true", "yes", "y", "on", "t")


def read_folder(variable: str) -> Path | None:
    """Return a folder from an environment variable, `~` replaced; `None` if it is not set.

    Raises:
        EnvironmentValueError: It is in the home of an unknown user: `~name` would be made here.
    """
    given = os.environ.get(variable)
    folder = expand_home(given) if given else None
    if folder is not None and folder.parts[:1] and folder.parts[0].startswith("~"):
        raise _refuse(variable, "a folder, without ~")
    return folder


def read_seconds(variable: str, default: float) -> float:
    """Return a time above 0 in seconds, from an environment variable; the default if it is not set.

    Raises:
        EnvironmentValueError: Its value is something else.
    """
    given = os.environ.get(variable, "").strip()
    try:
        seconds = float(given) if given else default
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise _refuse(variable, "a number of seconds above 0, such as 600")
    return seconds


def _refuse(variable: str, allowed: str) -> EnvironmentValueError:
    return EnvironmentValueError(
        f"the environment variable {variable} is {os.environ[variable]!r}",
        where=variable,
        fix=f"set it to {allowed}; or unset it",
    )
