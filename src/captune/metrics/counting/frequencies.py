"""Document frequencies: the number of images whose captions contain each n-gram, for CIDEr.

By default they are counted in the references being scored. Single images and rewards need fixed
ones, counted in a training set or read from a file. Letters: G n-grams of one order.
"""

from __future__ import annotations

import io
import json
import pickle
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from captune.errors import CHECK_PATH, MetricError
from captune.metrics.counting.ngrams import (
    ORDERS,
    NgramKeys,
    NgramTable,
    map_words,
    translate_ranks,
)
from captune.metrics.counting.reference_store import DAMAGED_ARRAYS
from captune.metrics.packed import Ints, Ranks, Vocabulary
from captune.metrics.results import Floats, sum_by
from captune.storage import open_atomic, refuse_irregular


@dataclass(frozen=True, eq=False)
class DocumentFrequencies:
    """Document frequencies of n-grams of 1 to 4 words.

    Attributes:
        num_documents: Number of images they were counted in.
        name: Their name in signatures; empty: the hash of their content.
        vocabulary: Word -> id.
        ngrams: The n-grams of each order.
        counts: int32 (G,) per order, number of images that contain the n-gram.
        tokenizer: Tokenizer that split the captions they were counted in; empty: unknown.
    """

    num_documents: float
    name: str
    vocabulary: Vocabulary
    ngrams: tuple[NgramKeys, ...]
    counts: tuple[Ranks, ...]
    tokenizer: str = ""

    @cached_property
    def label(self) -> str:
        """Their name in signatures."""
        if self.name:
            return self.name
        import hashlib  # OpenSSL takes 4 MB, and frequencies of the corpus need no hash.

        digest = hashlib.sha256(json.dumps(list(self.vocabulary)).encode())
        for ngrams, counts in zip(self.ngrams, self.counts, strict=True):
            digest.update(ngrams.keys.tobytes() + counts.tobytes())
        return f"{self.num_documents:g}-images-{digest.hexdigest()[:8]}"

    @classmethod
    def of_ngrams(
        cls, counts: Mapping[tuple[str, ...], float], *, num_documents: float, name: str
    ) -> DocumentFrequencies:
        """Return document frequencies from another program's counts.

        Args:
            counts: N-gram of 1 to 4 words -> number of documents that contain it; others are
                ignored.
            num_documents: Number of documents they were counted in.
            name: Their name in signatures.
        """
        rows = [gram for gram in counts if 1 <= len(gram) <= ORDERS]
        vocabulary = Vocabulary()
        words = np.zeros((len(rows), ORDERS), np.int64)
        for place, gram in enumerate(rows):
            words[place, : len(gram)] = [vocabulary[word] for word in gram]
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        values = np.fromiter((counts[gram] for gram in rows), np.float64, len(rows))
        ngrams, by_order = _rank_rows(words, lengths, values=values, base=max(1, len(vocabulary)))
        return cls(num_documents, name, vocabulary, ngrams, by_order)

    @classmethod
    def read(cls, path: Path | str) -> DocumentFrequencies:
        """Read a file that `save` wrote, or a pickle such as `coco-val-df.p`.

        Raises:
            MetricError: The file cannot be read, or is neither.
        """
        path = Path(path)
        try:
            refuse_irregular(path, MetricError, fix="give a file of document frequencies")
            content = path.read_bytes()
        except OSError as error:
            raise MetricError(f"{path} cannot be read: {error.strerror}", fix=CHECK_PATH) from error
        if content[:2] == b"PK":
            return _read_archive(content, path)
        return _read_pickle(content, path)

    def save(self, path: Path | str) -> None:
        """Write the frequencies to one `.npz` file, without pickle.

        Raises:
            OutputError: The file cannot be written.
        """
        arrays: dict[str, np.ndarray[Any, Any]] = {
            "documents": np.array([self.num_documents]),
            "words": np.frombuffer(json.dumps(list(self.vocabulary)).encode(), np.uint8),
            "tokenizer": np.array([self.tokenizer]),
        }
        for order, (ngrams, counts) in enumerate(zip(self.ngrams, self.counts, strict=True), 1):
            arrays[f"keys_{order}"], arrays[f"counts_{order}"] = ngrams.keys, counts
        with open_atomic(Path(path)) as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    def require_tokenizer(self, tokenizer: str) -> None:
        """Check that the frequencies were not counted with a tokenizer other than the given one.

        Raises:
            MetricError: They were: most n-grams would be missing, and CIDEr would be wrong.
        """
        if self.tokenizer and self.tokenizer != tokenizer:
            raise MetricError(
                f"the document frequencies were counted with the tokenizer {self.tokenizer},"
                f" and the captions to score are split with {tokenizer}",
                where=self.name,
                fix=f"use --tokenize {self.tokenizer}, or count the frequencies again:"
                f" References(captions, tokenizer={tokenizer!r}).frequencies.save(...)",
            )

    def weigh(self, ngrams: Sequence[NgramKeys], vocabulary: Vocabulary) -> Iterator[Floats]:
        """Yield inverse document frequencies, ln(documents) - ln(max(1, those with the n-gram)).

        Args:
            ngrams: N-grams of each order.
            vocabulary: Their words.

        Yields:
            One float64 (G,) per order.
        """
        if ngrams is self.ngrams:
            yield from map(self._weigh_counts, self.counts)
            return
        words = None if vocabulary is self.vocabulary else map_words(vocabulary, self.vocabulary)
        ranks = translate_ranks(ngrams, self.ngrams, words=words)
        for order, rank in enumerate(ranks):
            yield self.weigh_ranks(rank, order)

    def weigh_ranks(self, ranks: Ints, order: int) -> Floats:
        """Return inverse document frequencies of n-grams by rank, as `weigh` does.

        Args:
            ranks: Ranks in `ngrams[order]`; n-grams of rank `UNKNOWN` are in no document.
            order: Index of the order, from 0.

        Returns:
            float64, one per rank.
        """
        # Rank -1 points at the last entry, the 0 of n-grams that are in no document.
        return self._weigh_counts(np.append(self.counts[order], np.int32(0))[ranks])

    def _weigh_counts(self, counts: Ranks) -> Floats:
        weights = counts.astype(np.float64)
        np.maximum(weights, 1.0, out=weights)
        np.log(weights, out=weights)
        return np.subtract(np.log(self.num_documents), weights, out=weights)


def measure_vectors(
    tables: Sequence[NgramTable], weights: Iterable[Floats], *, num_captions: int
) -> list[Floats]:
    """Return the length of each caption's vector of weighted counts.

    Args:
        tables: N-grams of the captions, one table per order.
        weights: float64 (G,) per order, weights of these n-grams.
        num_captions: Number of captions.

    Returns:
        One float64 (captions,) per order.
    """
    norms = []
    for table, weight in zip(tables, weights, strict=True):
        squares = np.repeat(weight, np.diff(table.offsets))
        squares *= table.counts
        squares *= squares
        norms.append(np.sqrt(sum_by(table.captions, squares, size=num_captions)))
    return norms


def _rank_rows(
    words: Ints, lengths: Ints, *, values: Floats, base: int
) -> tuple[tuple[NgramKeys, ...], tuple[Ranks, ...]]:
    """Rank n-grams given as padded rows of words, together with their prefixes."""
    ngrams, counts = [], []
    prefix = np.zeros(len(words), np.int64)
    for order in range(1, ORDERS + 1):
        keep = lengths >= order
        words, lengths, values, prefix = words[keep], lengths[keep], values[keep], prefix[keep]
        keys, inverse = np.unique(prefix * base + words[:, order - 1], return_inverse=True)
        count = np.zeros(len(keys))
        whole = lengths == order
        count[inverse[whole]] = values[whole]
        ngrams.append(NgramKeys(keys, base))
        counts.append(count.astype(np.int32))
        prefix = inverse.astype(np.int64)
    return tuple(ngrams), tuple(counts)


def _read_archive(content: bytes, path: Path) -> DocumentFrequencies:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            words = json.loads(bytes(arrays["words"]))
            vocabulary = Vocabulary({word: place for place, word in enumerate(words)})
            orders = range(1, ORDERS + 1)
            return DocumentFrequencies(
                num_documents=float(arrays["documents"][0]),
                name=path.name,
                vocabulary=vocabulary,
                ngrams=tuple(NgramKeys(arrays[f"keys_{n}"], len(words)) for n in orders),
                counts=tuple(arrays[f"counts_{n}"] for n in orders),
                # Files of captune 0.1 do not name the tokenizer.
                tokenizer=str(arrays["tokenizer"][0]) if "tokenizer" in arrays.files else "",
            )
    except DAMAGED_ARRAYS as error:
        raise MetricError(
            f"{path} does not contain document frequencies: {error}",
            fix="write it with DocumentFrequencies.save",
        ) from error


class _PlainUnpickler(pickle.Unpickler):
    """Unpickler that reads dictionaries of numbers and refuses everything that could run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "defaultdict"):
            return defaultdict
        if module in {"builtins", "__builtin__"} and name in {"float", "int", "long"}:
            return float if name == "float" else int
        raise pickle.UnpicklingError(f"it contains {module}.{name}, which is not allowed")


def _read_pickle(content: bytes, path: Path) -> DocumentFrequencies:
    try:
        # Python 2 wrote the published files: their text is bytes of UTF-8.
        loaded = _PlainUnpickler(io.BytesIO(content), encoding="utf-8").load()
        counts = {
            (gram if isinstance(gram, tuple) else tuple(str(gram).split())): float(count)
            for gram, count in loaded["document_frequency"].items()
        }
        return DocumentFrequencies.of_ngrams(
            counts, num_documents=float(loaded["ref_len"]), name=path.name
        )
    except (*DAMAGED_ARRAYS, pickle.UnpicklingError, AttributeError) as error:
        raise MetricError(
            f"{path} does not contain document frequencies: {error}",
            fix="give a file written by DocumentFrequencies.save, or a pickle of "
            '{"document_frequency": {n-gram: count}, "ref_len": images}',
        ) from error
