"""Captions in the metadata of images: XMP in JPEG, PNG and WebP files, and in sidecars.

Pure functions on bytes. A change is a list of replaced ranges, so pixels and all other metadata
stay the same, byte for byte, and undoing it needs only those ranges.
"""

from captune.bulk.metadata.containers import (
    edit_embedded,
    edit_sidecar,
    read_embedded,
    read_sidecar,
)
from captune.bulk.metadata.packets import Texts
from captune.bulk.metadata.refusal import EMBED_UNSUPPORTED
from captune.bulk.metadata.splices import Splice, apply_splices, restore, undo_bytes
from captune.bulk.metadata.view import FileView

__all__ = [
    "EMBED_UNSUPPORTED",
    "FileView",
    "Splice",
    "Texts",
    "apply_splices",
    "edit_embedded",
    "edit_sidecar",
    "read_embedded",
    "read_sidecar",
    "restore",
    "undo_bytes",
]
