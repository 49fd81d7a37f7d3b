"""Counted references on disk: one file per content, so that the next run counts only predictions.

Files hold plain arrays, no pickle. Their names contain a hash of ids, captions and tokenizer, and
captune's version, because another version may split words differently.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from captune import __version__
from captune.errors import MetricError
from captune.metrics.counting.ngrams import ORDERS, NgramKeys, NgramTable
from captune.metrics.packed import PackedCaptions, Vocabulary
from captune.storage import open_atomic

DAMAGED_ARRAYS = (
    *(OSError, EOFError, zipfile.BadZipFile, zlib.error),
    *(ValueError, LookupError, TypeError, RuntimeError, OverflowError),
)
"""What reading an `.npz` file can raise, if it is damaged or holds something else."""

FORMAT = 2
"""Format version, increased when the arrays change; files of other versions are not read."""


@dataclass(frozen=True, slots=True)
class CountedCaptions:
    """Human captions with all counts.

    Attributes:
        captions: Image id -> captions.
        tokenizer: Name of the tokenizer that split them into words.
        tokens_packed: Captions split at U+0020 only.
        words: The same captions split at all white space.
        vocabulary: Their words.
        tables: Their n-grams of 1 to 4 words.
    """

    captions: Mapping[str, Sequence[str]]
    tokenizer: str
    tokens_packed: PackedCaptions
    words: PackedCaptions
    vocabulary: Vocabulary
    tables: tuple[NgramTable, ...]


def save_counted(counted: CountedCaptions, path: Path) -> None:
    """Write counted captions.

    Raises:
        OutputError: The folder cannot be written.
    """
    with open_atomic(path) as file:
        np.savez(file, allow_pickle=False, **_to_arrays(counted))


def load_counted(path: Path) -> CountedCaptions:
    """Read what `save_counted` wrote.

    Raises:
        MetricError: The file is missing, damaged, or of another format.
    """
    try:
        # Opened here, as numpy leaves a damaged file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return _from_arrays(arrays)
    except DAMAGED_ARRAYS as error:
        raise MetricError(
            f"{path} does not contain counted references: {error}",
            fix="delete it; it is rebuilt from the captions",
        ) from error


def store_name(content_hash: str) -> str:
    """Return the file name of references with this content."""
    return f"references-{FORMAT}-{__version__}-{content_hash[:32]}.npz"


def _to_arrays(counted: CountedCaptions) -> dict[str, np.ndarray[Any, Any]]:
    content = [dict(counted.captions), list(counted.vocabulary), counted.tokenizer]
    arrays: dict[str, np.ndarray[Any, Any]] = {
        "format": np.array([FORMAT]),
        "content": np.frombuffer(json.dumps(content).encode(), np.uint8),
        "token_words": counted.tokens_packed.words,
        "token_lengths": counted.tokens_packed.lengths,
        "words": counted.words.words,
        "lengths": counted.words.lengths,
    }
    for order, table in enumerate(counted.tables):
        arrays[f"keys_{order}"] = table.ngrams.keys
        arrays[f"offsets_{order}"] = table.offsets
        arrays[f"captions_{order}"] = table.captions
        arrays[f"counts_{order}"] = table.counts
    return arrays


def _from_arrays(arrays: Any) -> CountedCaptions:
    if int(arrays["format"][0]) != FORMAT:
        raise ValueError(f"format {int(arrays['format'][0])}, not {FORMAT}")
    captions, words, tokenizer = json.loads(bytes(arrays["content"]))
    vocabulary = Vocabulary({word: place for place, word in enumerate(words)})
    base = max(1, len(vocabulary))
    tables = tuple(
        NgramTable(
            NgramKeys(arrays[f"keys_{order}"], base),
            arrays[f"offsets_{order}"],
            arrays[f"captions_{order}"],
            arrays[f"counts_{order}"],
        )
        for order in range(ORDERS)
    )
    return CountedCaptions(
        captions,
        tokenizer,
        tokens_packed=PackedCaptions(arrays["token_words"], arrays["token_lengths"]),
        words=PackedCaptions(arrays["words"], arrays["lengths"]),
        vocabulary=vocabulary,
        tables=tables,
    )
