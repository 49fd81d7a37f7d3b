"""How many images the model captions at once: fewer after a batch did not fit into memory."""

from __future__ import annotations

_BATCHES_BEFORE_MORE = 50


class BatchSize:
    """The size of the next batch at most."""

    def __init__(self, most: int) -> None:
        """Start with the largest size."""
        self._largest = self.most = most
        self._num_full = 0

    def note_success(self, size: int) -> None:
        """After many full batches, try one image more."""
        if size < self.most:
            return
        self._num_full += 1
        if self._num_full >= _BATCHES_BEFORE_MORE:
            self._num_full = 0
            self.most = min(self._largest, self.most + 1)

    def note_failure(self, size: int) -> None:
        """Halve the size: a batch failed, and its halves did not."""
        self._num_full = 0
        self.most = min(self.most, max(1, size // 2))
