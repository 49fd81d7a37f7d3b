"""What a run does to files, in one place, so that a test can drop whatever is not synced."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from captune.storage import sync_folder


def temporary_beside(target: Path) -> Path:
    """Return a new name beside a file, for the temporary file that is renamed to it."""
    return target.with_name(f".captune-{secrets.token_hex(6)}.part")


class Disk:
    """Files of a real disk."""

    def write(self, temporary: Path, content: bytes, *, like: Path) -> None:
        """Write a temporary file and sync it; it gets the permissions of `like`, if that exists."""
        with temporary.open("xb") as file:
            file.write(content)
            with suppress(OSError, AttributeError):
                os.fchmod(file.fileno(), stat.S_IMODE(like.stat().st_mode))
            file.flush()
            os.fsync(file.fileno())

    def replace(self, temporary: Path, target: Path) -> None:
        """Rename a temporary file to its target; durable only after `sync_folder`."""
        temporary.replace(target)

    def remove(self, path: Path) -> None:
        """Delete a file, if it exists."""
        path.unlink(missing_ok=True)

    def sync_folder(self, folder: Path) -> None:
        """Make the renames in a folder durable."""
        sync_folder(folder)
