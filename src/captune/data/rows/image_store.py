"""Keeps the encoded images of a hub data set: in memory while they are few, else as files.

A million photographs do not fit into memory. Files are named by their content, so a second read
of the same data set finds them there.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from captune.records import ImageSource
from captune.storage import find_cache_folder, write_bytes


class ImageStore:
    """Takes encoded images and says where they are.

    Args:
        memory_limit: Bytes held in memory at most.
        folder: Where further images go; `None`: `images` in captune's cache folder.
    """

    def __init__(self, memory_limit: int, *, folder: Path | None = None) -> None:
        self._room = memory_limit
        self._known: dict[str, ImageSource] = {}
        self.folder = folder or find_cache_folder() / "images"
        self.num_files = 0

    def keep(self, content: bytes, digest: str | None = None) -> ImageSource:
        """Where an image is kept from now on; equal images are kept once.

        Args:
            content: The encoded image.
            digest: Its `content_digest`, where that is known already.

        Raises:
            OutputError: The folder cannot be written.
        """
        digest = digest or content_digest(content)
        known = self._known.get(digest)
        if known is None:
            known = self._known[digest] = self._place(content, digest=digest)
        return known

    def _place(self, content: bytes, *, digest: str) -> ImageSource:
        if len(content) <= self._room:
            self._room -= len(content)
            return content
        # Two letters of the name as folder: a million files in one are slow to list.
        path = self.folder / digest[:2] / digest
        if not path.is_file() or path.stat().st_size != len(content):
            write_bytes(path, content)
        self.num_files += 1
        return path


def content_digest(content: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()
