"""Counted references on disk: one file a content, so that the next run pays for predictions only.

Plain arrays, no pickle. The name holds the hash of ids and captions, and captune's version, as
another version may cut words otherwise.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from captune import __version__
from captune.errors import MetricError
from captune.metrics.counting.ngrams import ORDERS, NgramKeys, NgramTable
from captune.metrics.packed import PackedCaptions, Vocabulary
from captune.storage import open_whole

if TYPE_CHECKING:
    from captune.metrics.counting.references import References

FORMAT = 1
"""Raised when the arrays change: older files are then not read."""


def save_references(references: References, folder: Path) -> Path:
    """Write counted references into a folder; a file already there is left as it is.

    Raises:
        OutputError: The folder cannot be written.
    """
    path = folder / store_name(references.content_hash)
    if path.exists():
        return path
    with open_whole(path) as file:
        np.savez(file, allow_pickle=False, **_to_arrays(references))
    return path


def load_references(path: Path) -> References:
    """Read references that `save_references` wrote.

    Raises:
        MetricError: The file is missing, damaged, or of another format.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return _from_arrays(arrays)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise MetricError(
            f"{path} holds no counted references: {error}",
            fix="delete it; it is made again from the captions",
        ) from error


def store_name(content_hash: str) -> str:
    """File name of references with this content."""
    return f"references-{FORMAT}-{__version__}-{content_hash[:32]}.npz"


def _to_arrays(references: References) -> dict[str, np.ndarray[Any, Any]]:
    content = [
        dict(zip(references.image_ids, references.captions, strict=True)),
        list(references.vocabulary),
    ]
    arrays: dict[str, np.ndarray[Any, Any]] = {
        "format": np.array([FORMAT]),
        "content": np.frombuffer(json.dumps(content).encode(), np.uint8),
        "token_words": references.tokens_packed.words,
        "token_lengths": references.tokens_packed.lengths,
        "words": references.words.words,
        "lengths": references.words.lengths,
    }
    for order, table in enumerate(references.tables):
        arrays[f"keys_{order}"] = table.ngrams.keys
        arrays[f"offsets_{order}"] = table.offsets
        arrays[f"captions_{order}"] = table.captions
        arrays[f"counts_{order}"] = table.counts
    return arrays


def _from_arrays(arrays: Any) -> References:
    from captune.metrics.counting.references import References

    if int(arrays["format"][0]) != FORMAT:
        raise ValueError(f"format {int(arrays['format'][0])}, not {FORMAT}")
    captions, words = json.loads(bytes(arrays["content"]))
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
    return References.of_counted(
        captions,
        tokens_packed=PackedCaptions(arrays["token_words"], arrays["token_lengths"]),
        words=PackedCaptions(arrays["words"], arrays["lengths"]),
        vocabulary=vocabulary,
        tables=tables,
    )
