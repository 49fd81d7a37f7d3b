"""How metadata writers refuse a file: with a reason, and a code that the run acts on."""

from __future__ import annotations

from captune.errors import ImageError

EMBED_UNSUPPORTED = "embed_unsupported"
"""Error code of a file that cannot safely hold captions; it gets an XMP sidecar instead."""


def embed_unsupported(reason: str) -> ImageError:
    """Return the error of a file that is kept as it is, with the reason."""
    return ImageError(EMBED_UNSUPPORTED, where=reason, fix="write XMP sidecars: --to xmp")


class PacketError(ValueError):
    """XMP that cannot be edited without guessing what is meant."""
