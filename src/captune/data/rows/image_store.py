"""Storage for the encoded images of a hub data set: in memory up to a limit, then in files.

A million photographs do not fit into memory. Files are named by their content, so reading the
same data set again reuses them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from captune.records import ImageSource
from captune.storage import find_cache_folder, write_bytes


class ImageStore:
    """Stores encoded images and returns where they are.

    Args:
        memory_limit: Maximum bytes held in memory.
        folder: Folder for further images; `None`: `images` in captune's cache folder.
    """

    def __init__(self, memory_limit: int, *, folder: Path | None = None) -> None:
        self._bytes_left = memory_limit
        self._known: dict[str, ImageSource] = {}
        self.folder = folder or find_cache_folder() / "images"
        self.num_files = 0

    def keep(self, content: bytes, digest: str | None = None) -> ImageSource:
        """Store an image and return where it is; equal images are stored once.

        Args:
            content: The encoded image.
            digest: Its `content_digest`, if already known.

        Raises:
            OutputError: The folder cannot be written.
        """
        digest = digest or content_digest(content)
        known = self._known.get(digest)
        if known is None:
            known = self._known[digest] = self._place(content, digest=digest)
        return known

    def _place(self, content: bytes, *, digest: str) -> ImageSource:
        if len(content) <= self._bytes_left:
            self._bytes_left -= len(content)
            return content
        # A folder per two leading letters: a million files in one folder are slow to list.
        path = self.folder / digest[:2] / digest
        if not path.is_file() or path.stat().st_size != len(content):
            write_bytes(path, content)
        self.num_files += 1
        return path


def content_digest(content: bytes) -> str:
    """Return the SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()
