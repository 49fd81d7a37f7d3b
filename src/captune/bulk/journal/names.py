"""Names as the journal stores them: bytes, also of file names that are not valid text."""

from __future__ import annotations


def encode_name(name: str) -> bytes:
    """Return a name as bytes; every string has other bytes, surrogates too."""
    return name.encode("utf-8", "surrogatepass")


def decode_name(stored: bytes) -> str:
    """Return the name that `encode_name` stored."""
    return stored.decode("utf-8", "surrogatepass")
