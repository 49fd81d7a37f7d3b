"""Names as the journal stores them: as bytes, because file names need not be valid text."""

from __future__ import annotations


def encode_name(name: str) -> bytes:
    """Return a name as bytes; different strings, even with surrogates, give different bytes."""
    return name.encode("utf-8", "surrogatepass")


def decode_name(stored: bytes) -> str:
    """Return the name that `encode_name` stored."""
    return stored.decode("utf-8", "surrogatepass")
