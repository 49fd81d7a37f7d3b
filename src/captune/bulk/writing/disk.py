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
        """Write a temporary file and sync it.

        It gets the owner, the permissions and the extended attributes (tags, ratings, access
        lists) of `like`, if that exists and as far as the system allows.
        """
        with temporary.open("xb") as file:
            file.write(content)
            with suppress(OSError, AttributeError):
                _be_like(file.fileno(), like)
            file.flush()
            os.fsync(file.fileno())

    def replace(self, temporary: Path, target: Path) -> None:
        """Rename a temporary file to its target; durable only after `sync_folder`."""
        # `Path.replace` parses the target again.
        os.replace(temporary, target)  # noqa: PTH105

    def create(self, temporary: Path, target: Path) -> bool:
        """Rename a temporary file to a name that no file has; durable only after `sync_folder`.

        Returns:
            Whether it has the name; if not, a file has it by now, such as one of the user's.
        """
        try:
            # A rename would replace a file that was written since somebody looked.
            target.hardlink_to(temporary)
        except FileExistsError:
            return False
        except OSError:
            # The file system has no links, like exFAT, or cannot write: renaming shows which.
            if os.path.lexists(target):
                return False
            self.replace(temporary, target)
        else:
            self.remove(temporary)
        return True

    def remove(self, path: Path) -> None:
        """Delete a file, if it exists."""
        path.unlink(missing_ok=True)

    def sync_folder(self, folder: Path) -> None:
        """Make the renames in a folder durable."""
        sync_folder(folder)


def _be_like(file: int, like: Path) -> None:
    """Give an open file the owner, permissions and extended attributes of another file.

    Raises:
        OSError: The other file does not exist.
        AttributeError: The system has no such functions.
    """
    state = like.stat()
    now = os.fstat(file)
    if (now.st_uid, now.st_gid) != (state.st_uid, state.st_gid):
        # Only root may give files away; others keep the group, if they are in it.
        for uid in (state.st_uid, -1):
            with suppress(OSError):
                os.fchown(file, uid, state.st_gid)
                break
    for name in _attributes(like):
        with suppress(OSError):
            os.setxattr(file, name, os.getxattr(like, name))
    # Last: a change of the owner clears some of the permissions.
    os.fchmod(file, stat.S_IMODE(state.st_mode))


def _attributes(path: Path) -> list[str]:
    # Python has these functions on Linux only.
    return os.listxattr(path) if hasattr(os, "listxattr") else []
