"""What a page states about how it was made."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the run facts.

    Attributes:
        label: Name of the fact, such as `Hardware`.
        value: Its value.
        is_code: Whether to show it in a fixed-width font, as for a command.
    """

    label: str
    value: str
    is_code: bool = False
