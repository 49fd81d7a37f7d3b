"""Data sets: reading, splitting, decoding, checking, converting and showing them.

Names are imported on first use: a process that only decodes images imports only `data.images`,
and starts in a fifth of the time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from captune.lazy_names import import_on_use

if TYPE_CHECKING:
    from captune.data.archives.shards import list_shards
    from captune.data.check.check_data import check_data
    from captune.data.check.findings import (
        BatchCounter,
        CommonCaption,
        DataCheck,
        DataProblem,
        LengthStats,
    )
    from captune.data.check.fingerprints import perceptual_hash
    from captune.data.check.kept_findings import choose_kept
    from captune.data.check.round_trip import (
        ReadBack,
        add_round_trip,
        measure_round_trip,
        refuse_lost_captions,
    )
    from captune.data.convert import write_dataset
    from captune.data.dataset import (
        LoadedData,
        LoadOptions,
        SkippedImage,
        StreamedImage,
        raise_when_too_many_bad,
    )
    from captune.data.decoders.decoder import (
        DecodeMode,
        DecodeOptions,
        InlineDecoder,
        count_threads,
        open_decoder,
    )
    from captune.data.decoders.interface import ImageDecoder
    from captune.data.decoders.isolated import IsolatedDecoder
    from captune.data.decoders.limits import Limits
    from captune.data.decoders.program import child_command
    from captune.data.decoders.slots import PixelSlots
    from captune.data.images import (
        DEFAULT_MAX_PIXELS,
        IMAGE_SUFFIXES,
        ImageMark,
        decode_image,
        describe_source,
        image_hash,
        read_pieces,
        read_source,
        upright_rgb,
    )
    from captune.data.load import check_place, detect_format, load_options, load_records
    from captune.data.pixels import image_from_array, to_rgb
    from captune.data.readers import (
        SOURCES,
        find_saved,
        is_hub_id,
        stream_rows,
        stream_shard,
    )
    from captune.data.readers.kaggle import kaggle_cache_folder
    from captune.data.record_store import (
        CaptionTexts,
        RecordStore,
        count_by_split,
        iter_plain,
        pick_records,
    )
    from captune.data.rows.columns import CAPTION_COLUMNS, IMAGE_COLUMNS, find_column
    from captune.data.rows.csv_form import find_csv_form, names_image
    from captune.data.saved_splits import load_splits, save_splits
    from captune.data.shapes.make_shapes import caption_is_true, is_shapes_id, make_shapes
    from captune.data.sheet import (
        check_picture_name,
        contact_sheet,
        find_fonts,
        name_missing_glyphs,
        write_picture,
    )
    from captune.data.skipped import read_skipped, replace_skipped, save_skipped
    from captune.data.splits import assign_splits, pick_split, select_split, take_fraction

__all__ = [
    "CAPTION_COLUMNS",
    "DEFAULT_MAX_PIXELS",
    "IMAGE_COLUMNS",
    "IMAGE_SUFFIXES",
    "SOURCES",
    "BatchCounter",
    "CaptionTexts",
    "CommonCaption",
    "DataCheck",
    "DataProblem",
    "DecodeMode",
    "DecodeOptions",
    "ImageDecoder",
    "ImageMark",
    "InlineDecoder",
    "IsolatedDecoder",
    "LengthStats",
    "Limits",
    "LoadOptions",
    "LoadedData",
    "PixelSlots",
    "ReadBack",
    "RecordStore",
    "SkippedImage",
    "StreamedImage",
    "add_round_trip",
    "assign_splits",
    "caption_is_true",
    "check_data",
    "check_picture_name",
    "check_place",
    "child_command",
    "choose_kept",
    "contact_sheet",
    "count_by_split",
    "count_threads",
    "decode_image",
    "describe_source",
    "detect_format",
    "find_column",
    "find_csv_form",
    "find_fonts",
    "find_saved",
    "image_from_array",
    "image_hash",
    "is_hub_id",
    "is_shapes_id",
    "iter_plain",
    "kaggle_cache_folder",
    "list_shards",
    "load_options",
    "load_records",
    "load_splits",
    "make_shapes",
    "measure_round_trip",
    "name_missing_glyphs",
    "names_image",
    "open_decoder",
    "perceptual_hash",
    "pick_records",
    "pick_split",
    "raise_when_too_many_bad",
    "read_pieces",
    "read_skipped",
    "read_source",
    "refuse_lost_captions",
    "replace_skipped",
    "save_skipped",
    "save_splits",
    "select_split",
    "stream_rows",
    "stream_shard",
    "take_fraction",
    "to_rgb",
    "upright_rgb",
    "write_dataset",
    "write_picture",
]

_HOMES = {
    "stream_shard": "captune.data.readers",
    "stream_rows": "captune.data.readers",
    "find_saved": "captune.data.readers",
    "is_hub_id": "captune.data.readers",
    "StreamedImage": "captune.data.dataset",
    "list_shards": "captune.data.archives.shards",
    "CAPTION_COLUMNS": "captune.data.rows.columns",
    "BatchCounter": "captune.data.check.findings",
    "CaptionTexts": "captune.data.record_store",
    "DEFAULT_MAX_PIXELS": "captune.data.images",
    "DataCheck": "captune.data.check.findings",
    "CommonCaption": "captune.data.check.findings",
    "DataProblem": "captune.data.check.findings",
    "LengthStats": "captune.data.check.findings",
    "DecodeMode": "captune.data.decoders.decoder",
    "DecodeOptions": "captune.data.decoders.decoder",
    "IMAGE_COLUMNS": "captune.data.rows.columns",
    "IMAGE_SUFFIXES": "captune.data.images",
    "ImageMark": "captune.data.images",
    "ImageDecoder": "captune.data.decoders.interface",
    "InlineDecoder": "captune.data.decoders.decoder",
    "IsolatedDecoder": "captune.data.decoders.isolated",
    "Limits": "captune.data.decoders.limits",
    "LoadOptions": "captune.data.dataset",
    "LoadedData": "captune.data.dataset",
    "PixelSlots": "captune.data.decoders.slots",
    "RecordStore": "captune.data.record_store",
    "SOURCES": "captune.data.readers",
    "SkippedImage": "captune.data.dataset",
    "ReadBack": "captune.data.check.round_trip",
    "add_round_trip": "captune.data.check.round_trip",
    "measure_round_trip": "captune.data.check.round_trip",
    "refuse_lost_captions": "captune.data.check.round_trip",
    "assign_splits": "captune.data.splits",
    "caption_is_true": "captune.data.shapes.make_shapes",
    "check_data": "captune.data.check.check_data",
    "check_picture_name": "captune.data.sheet",
    "choose_kept": "captune.data.check.kept_findings",
    "contact_sheet": "captune.data.sheet",
    "count_by_split": "captune.data.record_store",
    "child_command": "captune.data.decoders.program",
    "count_threads": "captune.data.decoders.decoder",
    "decode_image": "captune.data.images",
    "describe_source": "captune.data.images",
    "detect_format": "captune.data.load",
    "find_column": "captune.data.rows.columns",
    "find_csv_form": "captune.data.rows.csv_form",
    "names_image": "captune.data.rows.csv_form",
    "find_fonts": "captune.data.sheet",
    "name_missing_glyphs": "captune.data.sheet",
    "image_hash": "captune.data.images",
    "is_shapes_id": "captune.data.shapes.make_shapes",
    "iter_plain": "captune.data.record_store",
    "kaggle_cache_folder": "captune.data.readers.kaggle",
    "check_place": "captune.data.load",
    "load_options": "captune.data.load",
    "load_records": "captune.data.load",
    "load_splits": "captune.data.saved_splits",
    "make_shapes": "captune.data.shapes.make_shapes",
    "open_decoder": "captune.data.decoders.decoder",
    "perceptual_hash": "captune.data.check.fingerprints",
    "pick_records": "captune.data.record_store",
    "pick_split": "captune.data.splits",
    "raise_when_too_many_bad": "captune.data.dataset",
    "read_pieces": "captune.data.images",
    "read_source": "captune.data.images",
    "read_skipped": "captune.data.skipped",
    "replace_skipped": "captune.data.skipped",
    "save_skipped": "captune.data.skipped",
    "save_splits": "captune.data.saved_splits",
    "select_split": "captune.data.splits",
    "take_fraction": "captune.data.splits",
    "image_from_array": "captune.data.pixels",
    "to_rgb": "captune.data.pixels",
    "upright_rgb": "captune.data.images",
    "write_dataset": "captune.data.convert",
    "write_picture": "captune.data.sheet",
}

__getattr__ = import_on_use(__name__, _HOMES)
