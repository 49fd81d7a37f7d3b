"""Hash the content of images, so that copies under other names are captioned only once."""

from __future__ import annotations

import os
import stat

from captune.bulk.items import Item
from captune.bulk.journal.changes import file_state, hash_bytes, hash_open
from captune.records import TarMember

# Larger files are not photographs, and reading one twice costs more than captioning it twice.
_MAX_BYTES = 256_000_000
_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def hash_content(item: Item) -> bytes | None:
    """Return the hash of an image's encoded bytes; `None`: there is none.

    Files larger than 256 MB are not hashed. A failure is reported when the image is decoded.
    """
    image = item.image
    if isinstance(image, bytes):
        return hash_bytes(image)
    try:
        if isinstance(image, os.PathLike):
            return _hash_range(image, 0, None)
        if isinstance(image, TarMember):
            return _hash_range(image.archive, image.offset, image.size)
    except OSError:
        return None
    return None


def has_changed(item: Item) -> bool:
    """Return whether a file was replaced since it was found, so that its caption may be wrong."""
    if item.file is None or item.size is None:
        return False
    state = file_state(item.file)
    return state is not None and state != (item.size, item.mtime_ns)


def _hash_range(path: os.PathLike[str], start: int, size: int | None) -> bytes | None:
    # Opening must not block on a pipe; only regular files are read.
    descriptor = os.open(path, _OPEN_FLAGS)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        left = found.st_size - start if size is None else size
        if not stat.S_ISREG(found.st_mode) or left > _MAX_BYTES:
            return None
        file.seek(start)
        return hash_open(file, size=left)
