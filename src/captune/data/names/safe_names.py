"""Names that would lead out of a folder or an archive, and names that are not data."""

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


def is_clutter(name: str) -> bool:
    """Return whether a member of an archive is hidden, or one that macOS adds to each file."""
    last = name.rpartition("/")[2]
    return not last or last.startswith(".") or "__MACOSX" in name.split("/")
