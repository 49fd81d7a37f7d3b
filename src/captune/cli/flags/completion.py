"""What a shell's completion script asks for, checked before typer reads it."""

from __future__ import annotations

import os

from captune.errors import EnvironmentValueError

_VARIABLE = "_CAPTUNE_COMPLETE"
_SHELLS = ("bash", "zsh", "fish", "powershell", "pwsh")
_REQUESTS = {f"{action}_{shell}" for action in ("complete", "source") for shell in _SHELLS}
_WIDE = "9999"


def prepare_completion() -> None:
    """Check the variables of a completion script; without a request for completion, do nothing.

    Raises:
        EnvironmentValueError: They are incomplete or wrong, such as one left in the environment.
    """
    request = os.environ.get(_VARIABLE)
    if not request:
        return
    given = {_VARIABLE: request}
    if request == "complete_bash":
        given |= {name: os.environ.get(name, "") for name in ("COMP_WORDS", "COMP_CWORD")}
    place = given.get("COMP_CWORD", "0")
    is_place = place.isascii() and place.isdecimal() and len(place) < 10
    if request not in _REQUESTS or "" in given.values() or not is_place:
        shown = ", ".join(f"{name}={value[:80]!r}" for name, value in given.items())
        raise EnvironmentValueError(
            f"no shell asks for completions so: {shown}",
            where="environment variables",
            fix=f"unset {_VARIABLE}; captune --install-completion installs the script that sets it",
        )
    # A description that is wrapped would be several completions.
    os.environ["COLUMNS"] = _WIDE
