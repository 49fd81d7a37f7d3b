"""How long work reports what it is doing: one function that is called with each message."""

from __future__ import annotations

from collections.abc import Callable

Say = Callable[[str], None]
"""Called with each progress message; what happens to it is the caller's choice."""
