"""Images that were in the model when its process ended: the next time, one of them is alone.

A batch says nothing about which of its images ended the process, so a suspect is captioned alone
next. If the process ends again, the image is to blame: it is not captioned again for an hour,
however often it is sent, because each try would cost all others a restart.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from dataclasses import dataclass

_SECONDS = 3600.0
_MAX_IMAGES = 4096
MAX_ENDS = 2
"""Ends of a process after which the image is no longer captioned."""


@dataclass(slots=True)
class _Suspect:
    num_ends: int
    until: float


class Suspects:
    """The suspected images of one model: hashes and times, at most 2 MB in all."""

    def __init__(self, *, seconds: float = _SECONDS, max_images: int = _MAX_IMAGES) -> None:
        """Start with none.

        Args:
            seconds: Time after its last end that an image is remembered.
            max_images: Images that are remembered; the oldest is forgotten first.
        """
        self._seconds, self._max_images = seconds, max_images
        self._found: OrderedDict[tuple[int, bytes], _Suspect] = OrderedDict()

    def count_ends(self, content: bytes) -> int:
        """Return how often a process has ended while an image was in the model."""
        # Without suspects of its length, an image need not be hashed.
        if not any(length == len(content) for length, _ in self._found):
            return 0
        suspect = self._found.get(_key(content))
        return 0 if suspect is None or suspect.until < time.monotonic() else suspect.num_ends

    def note_end(self, content: bytes) -> int:
        """Record that a process ended, and return how often this has happened."""
        count = self.count_ends(content) + 1
        key = _key(content)
        self._found[key] = _Suspect(count, time.monotonic() + self._seconds)
        self._found.move_to_end(key)
        if len(self._found) > self._max_images:
            self._found.popitem(last=False)
        return count

    def clear(self, content: bytes) -> None:
        """Forget an image: the model has captioned it alone."""
        self._found.pop(_key(content), None)


def _key(content: bytes) -> tuple[int, bytes]:
    return len(content), hashlib.blake2b(content, digest_size=16).digest()
