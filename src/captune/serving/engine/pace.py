"""How long images stay in the model, which decides whether others join a running batch."""

from __future__ import annotations

_JOIN_AFTER = 0.3
"""Seconds in the model from which others join. A group that joins is a search of its own, which
costs small models a fifth of their speed; images need not wait long for the end of their batches.
"""
_WEIGHT = 0.1


class Pace:
    """The time that images stay in the model of this process."""

    def __init__(self, *, join_after: float = _JOIN_AFTER) -> None:
        """Start without knowledge.

        Args:
            join_after: See `is_slow`.
        """
        self._join_after = join_after
        self._mean: float | None = None

    def note(self, seconds: float) -> None:
        """Record how long an image was in the model."""
        mean = seconds if self._mean is None else self._mean
        self._mean = mean + _WEIGHT * (seconds - mean)

    def is_slow(self, seconds: float) -> bool:
        """Return whether images stay in the model so long that others should join them.

        Args:
            seconds: Time that the oldest image has been in the model.
        """
        return max(seconds, self._mean or 0.0) >= self._join_after
