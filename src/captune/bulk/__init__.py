"""Bulk captioning: whole photo libraries, resumable and undoable, with every image accounted for.

Names are imported on first use: checking flags and scanning files must not load torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from captune.lazy_names import import_on_use

if TYPE_CHECKING:
    from captune.bulk.captioning import StreamCaptioner
    from captune.bulk.feed.planner import FeedSettings, RunShare, read_share
    from captune.bulk.formats.interface import CollectedFormat, Existing, FileChange, PerImageFormat
    from captune.bulk.formats.text_files import SidecarName
    from captune.bulk.items import CaptionedItem, FoundItem, Item
    from captune.bulk.library import LibraryOptions, caption_library
    from captune.bulk.merge import merge_shares
    from captune.bulk.preview import PlannedCaption, RunPreview, preview_run
    from captune.bulk.run import BulkModel, BulkResult, Surroundings, run_bulk
    from captune.bulk.settings import (
        BulkSettings,
        OutputName,
        choose_decode,
        choose_outputs,
        ends_as_folder,
        read_output_names,
    )
    from captune.bulk.sources.count import count_images
    from captune.bulk.sources.find import SourceOptions, find_items
    from captune.bulk.sources.lists import ListFormat
    from captune.bulk.undo import undo_cost, undo_run
    from captune.bulk.wording import Wording, read_clean_steps
    from captune.bulk.worker.open_model import RunEngine, open_model
    from captune.bulk.writing.streams import ReaderGoneError
    from captune.bulk.writing.tasks import Outcome

__all__ = [
    "BulkModel",
    "BulkResult",
    "BulkSettings",
    "CaptionedItem",
    "CollectedFormat",
    "Existing",
    "FeedSettings",
    "FileChange",
    "FoundItem",
    "Item",
    "LibraryOptions",
    "ListFormat",
    "Outcome",
    "OutputName",
    "PerImageFormat",
    "PlannedCaption",
    "ReaderGoneError",
    "RunEngine",
    "RunPreview",
    "RunShare",
    "SidecarName",
    "SourceOptions",
    "StreamCaptioner",
    "Surroundings",
    "Wording",
    "caption_library",
    "choose_decode",
    "choose_outputs",
    "count_images",
    "ends_as_folder",
    "find_items",
    "merge_shares",
    "open_model",
    "preview_run",
    "read_clean_steps",
    "read_output_names",
    "read_share",
    "run_bulk",
    "undo_cost",
    "undo_run",
]

_HOMES = {
    "BulkModel": "captune.bulk.run",
    "BulkResult": "captune.bulk.run",
    "BulkSettings": "captune.bulk.settings",
    "CaptionedItem": "captune.bulk.items",
    "ListFormat": "captune.bulk.sources.lists",
    "count_images": "captune.bulk.sources.count",
    "find_items": "captune.bulk.sources.find",
    "SourceOptions": "captune.bulk.sources.find",
    "FoundItem": "captune.bulk.items",
    "CollectedFormat": "captune.bulk.formats.interface",
    "Existing": "captune.bulk.formats.interface",
    "FeedSettings": "captune.bulk.feed.planner",
    "FileChange": "captune.bulk.formats.interface",
    "Item": "captune.bulk.items",
    "Outcome": "captune.bulk.writing.tasks",
    "OutputName": "captune.bulk.settings",
    "read_output_names": "captune.bulk.settings",
    "PerImageFormat": "captune.bulk.formats.interface",
    "PlannedCaption": "captune.bulk.preview",
    "RunPreview": "captune.bulk.preview",
    "RunShare": "captune.bulk.feed.planner",
    "SidecarName": "captune.bulk.formats.text_files",
    "Surroundings": "captune.bulk.run",
    "Wording": "captune.bulk.wording",
    "choose_decode": "captune.bulk.settings",
    "choose_outputs": "captune.bulk.settings",
    "ends_as_folder": "captune.bulk.settings",
    "merge_shares": "captune.bulk.merge",
    "StreamCaptioner": "captune.bulk.captioning",
    "RunEngine": "captune.bulk.worker.open_model",
    "open_model": "captune.bulk.worker.open_model",
    "LibraryOptions": "captune.bulk.library",
    "caption_library": "captune.bulk.library",
    "undo_cost": "captune.bulk.undo",
    "undo_run": "captune.bulk.undo",
    "preview_run": "captune.bulk.preview",
    "read_clean_steps": "captune.bulk.wording",
    "ReaderGoneError": "captune.bulk.writing.streams",
    "read_share": "captune.bulk.feed.planner",
    "run_bulk": "captune.bulk.run",
}
__getattr__ = import_on_use(__name__, _HOMES)
