"""One line of the output of `captune doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FindingState = Literal["ok", "note", "bad"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        state: `ok`, `note` (something optional is missing) or `bad` (captune cannot work).
        name: What was examined.
        detail: The result, and how to fix it unless it is ok.
    """

    state: FindingState
    name: str
    detail: str
