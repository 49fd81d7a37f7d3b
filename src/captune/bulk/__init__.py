"""Bulk captioning: whole photo libraries, resumable, undoable, with every output accounted for.

Its names are imported on first use: checking flags and looking at files must not load torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from captune.lazy_names import import_on_use

if TYPE_CHECKING:
    from captune.bulk.formats.interface import CollectedFormat, Existing, FileChange, PerImageFormat
    from captune.bulk.items import CaptionedItem, Item
    from captune.bulk.wording import CLEAN_STEPS, CleanStep, Wording, read_clean_steps

__all__ = [
    "CLEAN_STEPS",
    "CaptionedItem",
    "CleanStep",
    "CollectedFormat",
    "Existing",
    "FileChange",
    "Item",
    "PerImageFormat",
    "Wording",
    "read_clean_steps",
]

_HOMES = {
    "FileChange": "captune.bulk.formats.interface",
    "CollectedFormat": "captune.bulk.formats.interface",
    "Existing": "captune.bulk.formats.interface",
    "Item": "captune.bulk.items",
    "PerImageFormat": "captune.bulk.formats.interface",
    "CaptionedItem": "captune.bulk.items",
    "CLEAN_STEPS": "captune.bulk.wording",
    "CleanStep": "captune.bulk.wording",
    "Wording": "captune.bulk.wording",
    "read_clean_steps": "captune.bulk.wording",
}
__getattr__ = import_on_use(__name__, _HOMES)
