"""The interface of the two kinds of searches that are replayed.

Shapes: B rows, K branches, N maximum new tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self

import torch


class RowState(Protocol):
    """Searches of B rows, each at its own token; new values are new objects.

    Attributes:
        steps: int64 (B,), number of generated tokens.
        running: bool (B,), rows whose search continues.
    """

    @property
    def steps(self) -> torch.Tensor:
        """See the class."""

    @property
    def running(self) -> torch.Tensor:
        """See the class."""

    @property
    def last_tokens(self) -> torch.Tensor:
        """The last token of each open branch, int64 (B, K)."""

    @property
    def parents(self) -> torch.Tensor:
        """The branch that each open branch continues, int64 (B, K)."""

    def tensors(self) -> list[torch.Tensor]:
        """Return all tensors; the first dimension of each counts the rows."""

    def with_tensors(self, tensors: Sequence[torch.Tensor]) -> Self:
        """Return searches whose `tensors` are others, in the same order."""

    def advance(self, logits: torch.Tensor) -> Self:
        """Return the searches after one more token, from logits (B, K, V)."""

    def captions(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return each row's best caption so far: tokens (B, N), their number, log-probability."""
