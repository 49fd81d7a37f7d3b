"""`captune merge`: joins the files that the shares of a run have written, each image once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from captune.bulk.formats import CollectedName, open_collected
from captune.bulk.formats.row_file import RowFile, read_rows
from captune.bulk.items import CaptionedItem, Item
from captune.errors import OutputError
from captune.records import Prediction
from captune.storage import TextSet, lock_file, refuse_existing

_CHUNK = 1000
"""Rows joined at a time."""


@dataclass(frozen=True, slots=True)
class MergeResult:
    """What was joined.

    Attributes:
        num_rows: Rows in the joined file.
        num_duplicates: Rows of images that an earlier part has too; left out.
    """

    num_rows: int
    num_duplicates: int
