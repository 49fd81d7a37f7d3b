"""Which packages are installed, without importing them."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def installed_version(package: str) -> str | None:
    """Version of an installed package; `None` where it is not."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
