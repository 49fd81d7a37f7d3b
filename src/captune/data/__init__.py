"""Data sets in, records out: reading, splitting, decoding, checking and showing them."""

from __future__ import annotations

from captune.data.check.check_data import check_data
from captune.data.check.duplicates import perceptual_hash
from captune.data.check.findings import DataCheck, DataProblem
from captune.data.check.page import render_check
from captune.data.convert import write_dataset
from captune.data.dataset import LoadedData, LoadOptions, SkippedImage, raise_when_too_many_bad
from captune.data.images import (
    DEFAULT_MAX_PIXELS,
    IMAGE_SUFFIXES,
    decode_image,
    describe_source,
    image_hash,
    read_source,
)
from captune.data.load import detect_format, load_options, load_records
from captune.data.pixels import to_rgb
from captune.data.readers import SOURCES
from captune.data.readers.kaggle import kaggle_cache_folder
from captune.data.rows.columns import CAPTION_COLUMNS, IMAGE_COLUMNS, find_column
from captune.data.saved_splits import load_splits, save_splits
from captune.data.shapes.make_shapes import caption_is_true, is_shapes_id, make_shapes
from captune.data.sheet import contact_sheet
from captune.data.skipped import save_skipped
from captune.data.splits import assign_splits, select_split, take_fraction

__all__ = [
    "CAPTION_COLUMNS",
    "DEFAULT_MAX_PIXELS",
    "IMAGE_COLUMNS",
    "IMAGE_SUFFIXES",
    "SOURCES",
    "DataCheck",
    "DataProblem",
    "LoadOptions",
    "LoadedData",
    "SkippedImage",
    "assign_splits",
    "caption_is_true",
    "check_data",
    "contact_sheet",
    "decode_image",
    "describe_source",
    "detect_format",
    "find_column",
    "image_hash",
    "is_shapes_id",
    "kaggle_cache_folder",
    "load_options",
    "load_records",
    "load_splits",
    "make_shapes",
    "perceptual_hash",
    "raise_when_too_many_bad",
    "read_source",
    "render_check",
    "save_skipped",
    "save_splits",
    "select_split",
    "take_fraction",
    "to_rgb",
    "write_dataset",
]
