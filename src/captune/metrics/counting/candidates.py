"""Captions to score, matched with the references of their images.

One caption per image for `compute`; any number per image for rewards and diversity. Letters:
M candidates, P (candidate, reference) pairs, in the order of candidates and then of references.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from captune.errors import MetricError
from captune.metrics.counting.ngrams import NgramTable, translate_ranks
from captune.metrics.counting.packed_texts import Packed, PackedTexts, pack_both
from captune.metrics.counting.references import References, check_caption, check_id
from captune.metrics.packed import Ints, Vocabulary

NAMED_IDS = 5
"""Number of ids that an error names; the rest are counted."""


@dataclass(frozen=True, slots=True)
class NgramMatches:
    """The n-grams of one order that a candidate shares with its references.

    Attributes:
        entries: int64 (H,), entries of the candidates' table.
        starts: int64 (H,), the first reference entry of the same n-gram and image.
        sizes: int64 (H,), number of such reference entries, which are consecutive.
    """

    entries: Ints
    starts: Ints
    sizes: Ints


class Candidates(PackedTexts):
    """M captions, each of one of the referenced images.

    Args:
        references: The human captions.
        captions: M captions.
        images: int64 (M,), index of each caption's image in `references.image_ids`.
    """

    def __init__(self, references: References, captions: Sequence[str], *, images: Ints) -> None:
        self.references = references
        self.captions = tuple(captions)
        self.images = images

    def _pack(self) -> Packed:
        # The references' words come before those that only candidates have.
        vocabulary = Vocabulary(self.references.vocabulary)
        tokenizer = self.references.tokenizer
        return (*pack_both(self.captions, vocabulary, tokenizer=tokenizer), vocabulary)

    @cached_property
    def ranks(self) -> list[Ints]:
        """For each order, the rank of each n-gram among the references' n-grams."""
        return translate_ranks([table.ngrams for table in self.tables], self.references.ngrams)

    @cached_property
    def matches(self) -> tuple[NgramMatches, ...]:
        """For each order, the n-grams that candidates share with their own references."""
        return tuple(
            self._match(table, ranks, order=order)
            for order, (table, ranks) in enumerate(zip(self.tables, self.ranks, strict=True))
        )

    def _match(self, table: NgramTable, ranks: Ints, *, order: int) -> NgramMatches:
        references = self.references.tables[order]
        num_captions = len(self.references.image_of_caption)
        # The references' entries are sorted by n-gram and caption: an image's captions are a run.
        keys = np.repeat(
            np.arange(len(references.ngrams.keys)) * num_captions, np.diff(references.offsets)
        )
        keys += references.captions
        entry_ranks = ranks[table.entry_ranks]
        entries = np.flatnonzero(entry_ranks >= 0)
        images = self.images[table.captions[entries]]
        wanted = entry_ranks[entries] * num_captions + self.references.first_caption[images]
        starts = np.searchsorted(keys, wanted)
        wanted += self.references.captions_per_image[images]
        sizes = np.searchsorted(keys, wanted) - starts
        held = np.flatnonzero(sizes)
        return NgramMatches(entries[held], starts[held], sizes[held])

    @cached_property
    def pair_candidates(self) -> Ints:
        """int64 (P,), the candidate of each pair."""
        return np.repeat(np.arange(len(self.images)), self._references_each)

    @cached_property
    def pair_references(self) -> Ints:
        """int64 (P,), the reference caption of each pair."""
        first = self.references.first_caption[self.images] - self.pair_starts
        return np.arange(len(self.pair_candidates)) + np.repeat(first, self._references_each)

    @cached_property
    def pair_starts(self) -> Ints:
        """int64 (M,), where each candidate's pairs begin."""
        return np.cumsum(self._references_each) - self._references_each

    @property
    def _references_each(self) -> Ints:
        return self.references.captions_per_image[self.images]


def match_predictions(references: References, predictions: Mapping[str, str]) -> Candidates:
    """Match one caption per image with the references, in their order.

    Raises:
        MetricError: Images lack a prediction or have no references, an id is given twice (as text
            and as a number), or a prediction is not text. All such ids are counted; some are named.
    """
    captions: dict[str, str] = {}
    for key, caption in predictions.items():
        image_id = check_id(key)
        if image_id in captions:
            raise MetricError(
                f"image id {image_id} is in the predictions twice, as text and as a number",
                fix="give one caption per image",
            )
        captions[image_id] = check_caption(caption, image_id=image_id, kind="prediction")
    require_same_images(references, tuple(captions), kind="predictions")
    texts = [captions[image_id] for image_id in references.image_ids]
    return Candidates(references, texts, images=np.arange(references.num_images))


def require_same_images(
    references: References,
    image_ids: Sequence[str],
    *,
    kind: Literal["predictions", "samples"],
) -> None:
    """Check that predictions or samples are given for exactly the images of the references.

    Args:
        references: The human captions.
        image_ids: The images with predictions or samples, each id once.
        kind: Which of the two is given.

    Raises:
        MetricError: Images lack them, or have no references. All are counted; some are named.
    """
    given = set(image_ids)
    missing = [image_id for image_id in references.image_ids if image_id not in given]
    extra = [image_id for image_id in image_ids if image_id not in references.index]
    if missing or extra:
        one = {"predictions": "a prediction", "samples": "samples"}[kind]
        raise MetricError(
            f"references and {kind} are not for the same images: "
            + "; ".join(
                [f"{len(missing)} without {one} ({name_ids(missing)})"] * bool(missing)
                + [f"{len(extra)} without references ({name_ids(extra)})"] * bool(extra)
            ),
            fix=f"give {one} for each image of the references, and for no other image",
        )


def name_ids(ids: Sequence[str]) -> str:
    """Return the first ids, and how many more there are."""
    named = ", ".join(ids[:NAMED_IDS])
    more = len(ids) - NAMED_IDS
    return named if more <= 0 else f"{named} and {more} more"
