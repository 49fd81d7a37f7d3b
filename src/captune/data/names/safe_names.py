"""Names of files in untrusted data that would lead out of a folder or an archive."""

from __future__ import annotations

import re

_DRIVE = re.compile(r"^[A-Za-z]:")


def is_unsafe_name(name: str) -> bool:
    """Return whether a name is absolute or contains `..`, on any system."""
    return is_absolute_name(name) or ".." in name.replace("\\", "/").split("/")


def is_absolute_name(name: str) -> bool:
    """Return whether a name starts at the root of a disk, on any system."""
    return name.startswith(("/", "\\")) or _DRIVE.match(name) is not None


def name_parts(name: str) -> list[str]:
    """Return the parts of a name without its drive, `.` and `..`."""
    plain = _DRIVE.sub("", name.replace("\\", "/").replace("\0", ""))
    return [part for part in plain.split("/") if part not in ("", ".", "..")]
