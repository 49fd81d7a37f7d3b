"""A command of a test's own, for the tests of the command line's frame."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import captune.cli.app as app_module
from captune.cli.commands import COMMANDS, Command


@pytest.fixture
def add_command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., None]], None]:
    """Return a function that adds a function to the table of commands, as `captune x`."""

    def add(function: Callable[..., None]) -> None:
        monkeypatch.setattr(app_module, "made_up", function, raising=False)
        table = {**COMMANDS, "x": Command("captune.cli.app:made_up", "Made up.", "Train")}
        monkeypatch.setattr(app_module, "COMMANDS", table)

    return add
