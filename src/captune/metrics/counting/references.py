"""The human captions that predictions are scored against: tokenized, packed and counted once.

Validation during training and rewards score many predictions against the same references, so
everything that depends only on the references is kept, in memory and on disk. Letters: N images,
C reference captions, G n-grams, E (n-gram, caption) entries, X runs of entries of one (n-gram,
image).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from captune.errors import MetricError
from captune.metrics.counting.frequencies import DocumentFrequencies, measure_vectors
from captune.metrics.counting.ngrams import NgramKeys
from captune.metrics.counting.packed_texts import Packed, PackedTexts, pack_both
from captune.metrics.counting.reference_store import (
    CountedCaptions,
    load_counted,
    save_counted,
    store_name,
)
from captune.metrics.counting.tokenizers import DEFAULT_TOKENIZER, require_tokenizer
from captune.metrics.packed import Ints, Ranks, Vocabulary
from captune.metrics.results import Floats
from captune.records import TokenizerName


class References(PackedTexts):
    """Human captions by image.

    Args:
        captions: Image id -> its captions, at least one per image. Order matters: METEOR uses the
            first of equally good references, and the tokenizer looks at the next caption to judge
            an abbreviation at the end of one.
        tokenizer: Tokenizer that splits these captions, and those scored against them, into words.

    Raises:
        MetricError: There are no images, an image has no caption, a caption is not text, two ids
            are the same text (1 and "1"), or the tokenizer is unknown.
        MissingExtraError: The tokenizer needs an extra that is not installed.
    """

    def __init__(
        self,
        captions: Mapping[str, Sequence[str]],
        *,
        tokenizer: TokenizerName = DEFAULT_TOKENIZER,
    ) -> None:
        checked = _check_captions(captions)
        self.tokenizer = require_tokenizer(tokenizer)
        self.image_ids: tuple[str, ...] = tuple(checked)
        self.captions: tuple[tuple[str, ...], ...] = tuple(checked.values())
        self._measured: tuple[DocumentFrequencies, list[Floats]] | None = None

    @property
    def num_images(self) -> int:
        """N, the number of images."""
        return len(self.image_ids)

    @cached_property
    def index(self) -> dict[str, int]:
        """Image id -> index in `image_ids`."""
        return {image_id: place for place, image_id in enumerate(self.image_ids)}

    @cached_property
    def captions_per_image(self) -> Ints:
        """int64 (N,), number of references of each image."""
        return np.fromiter(map(len, self.captions), np.int64, self.num_images)

    @cached_property
    def first_caption(self) -> Ints:
        """int64 (N,), index of each image's first caption among the C captions."""
        return np.cumsum(self.captions_per_image) - self.captions_per_image

    @cached_property
    def image_of_caption(self) -> Ranks:
        """int32 (C,), the image of each caption."""
        return np.repeat(np.arange(self.num_images, dtype=np.int32), self.captions_per_image)

    def _pack(self) -> Packed:
        vocabulary = Vocabulary()
        texts = [caption for captions in self.captions for caption in captions]
        return (*pack_both(texts, vocabulary, tokenizer=self.tokenizer), vocabulary)

    @cached_property
    def ngrams(self) -> tuple[NgramKeys, ...]:
        """The different n-grams of 1 to 4 words."""
        return tuple(table.ngrams for table in self.tables)

    def find_runs(self, order: int) -> Ints:
        """Find where the entries of each n-gram and image begin; not kept, to save memory.

        Args:
            order: Index of a table in `tables`.

        Returns:
            int64 (X,), ascending.
        """
        return np.flatnonzero(self._mark_runs(order))

    def _mark_runs(self, order: int) -> npt.NDArray[np.bool_]:
        """Return whether each entry is the first of its n-gram and image, bool (E,)."""
        table = self.tables[order]
        images = self.image_of_caption[table.captions]
        is_first = np.ones(len(images), np.bool_)
        np.not_equal(images[1:], images[:-1], out=is_first[1:])
        is_first[table.offsets[:-1]] = True
        return is_first

    @cached_property
    def frequencies(self) -> DocumentFrequencies:
        """Document frequencies counted in these captions; each image is one document."""
        return DocumentFrequencies(
            num_documents=self.num_images,
            name="",
            vocabulary=self.vocabulary,
            ngrams=self.ngrams,
            counts=tuple(map(self._count_images, range(len(self.tables)))),
            tokenizer=self.tokenizer,
        )

    def _count_images(self, order: int) -> Ranks:
        """Return the number of images whose captions contain each n-gram, int32 (G,)."""
        first_entries = self.tables[order].offsets[:-1]
        images: Ranks = np.add.reduceat(self._mark_runs(order), first_entries, dtype=np.int32)
        return images

    def measure_with(self, frequencies: DocumentFrequencies) -> list[Floats]:
        """Return the lengths of the captions' vectors by these frequencies; keep the last ones.

        Returns:
            One float64 (C,) per order.
        """
        if self._measured is None or self._measured[0] is not frequencies:
            weights = frequencies.weigh(self.ngrams, self.vocabulary)
            norms = measure_vectors(self.tables, weights, num_captions=len(self.image_of_caption))
            self._measured = (frequencies, norms)
        return self._measured[1]

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of ids, captions and tokenizer, in hexadecimal."""
        captions = dict(zip(self.image_ids, self.captions, strict=True))
        return hash_captions(captions, tokenizer=self.tokenizer)

    @cached_property
    def description(self) -> str:
        """`refs:LOW-HIGH|images:N` for signatures."""
        low, high = int(self.captions_per_image.min()), int(self.captions_per_image.max())
        return f"refs:{low if low == high else f'{low}-{high}'}|images:{self.num_images}"

    def save(self, folder: Path | str) -> Path:
        """Save the counted references in a folder, in a file named by their content.

        Returns:
            The file written.

        Raises:
            OutputError: The folder cannot be written.
        """
        path = Path(folder) / store_name(self.content_hash)
        if not path.exists():
            captions = dict(zip(self.image_ids, self.captions, strict=True))
            tokens, words, vocabulary = self._packed
            save_counted(
                CountedCaptions(captions, self.tokenizer, tokens, words, vocabulary, self.tables),
                path,
            )
        return path

    @classmethod
    def cached(
        cls,
        captions: Mapping[str, Sequence[str]],
        folder: Path | str,
        *,
        tokenizer: TokenizerName = DEFAULT_TOKENIZER,
    ) -> References:
        """Return references from a folder of counted ones; count and save them if they are new.

        Args:
            captions: Image id -> its captions, at least one per image.
            folder: Folder of counted references, one file per content.
            tokenizer: Tokenizer that splits the captions into words.

        Raises:
            MetricError: As for `References`.
            OutputError: The folder cannot be written.
        """
        references = cls(captions, tokenizer=tokenizer)
        path = Path(folder) / store_name(references.content_hash)
        if path.exists():
            try:
                return cls.load(path)
            except MetricError:
                path.unlink(missing_ok=True)
        references.save(folder)
        return references

    @classmethod
    def load(cls, path: Path | str) -> References:
        """Read references that `save` wrote.

        Raises:
            MetricError: The file is missing, damaged, or of another version of captune.
        """
        counted = load_counted(Path(path))
        references = cls(counted.captions, tokenizer=require_tokenizer(counted.tokenizer))
        references._packed = (counted.tokens_packed, counted.words, counted.vocabulary)
        references.tables = counted.tables
        return references


def check_id(image_id: object) -> str:
    """Return an image id as text; whole numbers, as in COCO, become text.

    Raises:
        MetricError: It is neither text nor a whole number.
    """
    if isinstance(image_id, str):
        return image_id
    if isinstance(image_id, int) and not isinstance(image_id, bool):
        return str(image_id)
    raise MetricError(
        f"an image id is {image_id!r}, neither text nor a whole number",
        fix="give ids as text",
    )


def check_caption(caption: object, *, image_id: str, kind: str) -> str:
    """Return a caption that is text; an empty one is allowed and scored.

    Raises:
        MetricError: It is not text.
    """
    if isinstance(caption, str):
        return caption
    raise MetricError(
        f"the {kind} of image {image_id} is {caption!r} ({type(caption).__name__}), not text",
        where=f"image_id {image_id}",
        fix="give a string; an empty one is allowed"
        + ("; several captions by one model go into --samples" * isinstance(caption, list)),
    )


def hash_captions(captions: Mapping[str, Sequence[str]], *, tokenizer: TokenizerName) -> str:
    """Return the SHA-256 of ids and captions in their order and of the tokenizer, as hex text."""
    import hashlib  # OpenSSL takes 4 MB, and most processes keep nothing on disk.

    content = [tokenizer, [[image_id, list(texts)] for image_id, texts in captions.items()]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _check_captions(captions: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    checked: dict[str, tuple[str, ...]] = {}
    for key, given in captions.items():
        image_id = check_id(key)
        if image_id in checked:
            raise MetricError(
                f"image id {image_id} is in the references twice, as text and as a number",
                fix="give each image once, with all its captions",
            )
        # Parquet files and data frames hold lists as numpy arrays.
        texts = given.tolist() if hasattr(given, "tolist") else given
        if isinstance(texts, str) or not isinstance(texts, Sequence):
            raise MetricError(
                f"the references of image {image_id} are {texts!r}, not a list of captions",
                where=f"image_id {image_id}",
                fix='give a list, such as ["a dog on a beach"]',
            )
        if not texts:
            raise MetricError(
                f"image {image_id} has no reference caption",
                where=f"image_id {image_id}",
                fix="give it at least one caption, or remove the image",
            )
        checked[image_id] = own = tuple(texts)
        # A call per caption would take four times as long.
        if set(map(type, own)) != {str}:
            for text in own:
                check_caption(text, image_id=image_id, kind="reference")
    if not checked:
        raise MetricError("there are no references", fix="give at least one image with a caption")
    return checked
