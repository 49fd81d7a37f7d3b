"""Maximum number of images per batch; smaller after a batch did not fit in memory."""

from __future__ import annotations

_BATCHES_BEFORE_MORE = 50


class BatchSize:
    """Maximum size of the next batch."""

    def __init__(self, most: int) -> None:
        """Start with the largest size."""
        self._largest = self.most = most
        self._num_full = 0

    def note_success(self, size: int) -> None:
        """Allow one image more after many full batches."""
        if size < self.most:
            return
        self._num_full += 1
        if self._num_full >= _BATCHES_BEFORE_MORE:
            self._num_full = 0
            self.most = min(self._largest, self.most + 1)

    def note_failure(self, size: int) -> None:
        """Halve the size: a batch of `size` images failed and its halves did not."""
        self._num_full = 0
        self.most = min(self.most, max(1, size // 2))
