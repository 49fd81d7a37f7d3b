"""Diversity of several captions of one image: Div-1, Div-2, mBLEU and self-CIDEr.

The captions are samples of one model, or its beams. Words are those of the chosen tokenizer.
Letters: N images, m captions per image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from captune.errors import MetricError
from captune.metrics.counting.candidates import Candidates, match_predictions, require_same_images
from captune.metrics.counting.frequencies import DocumentFrequencies
from captune.metrics.counting.ngrams import ORDERS
from captune.metrics.counting.references import References
from captune.metrics.counting.tokenizers import DEFAULT_TOKENIZER
from captune.metrics.packed import Ranks
from captune.metrics.results import Floats, MetricColumn, mean_column, parts_column, sum_by
from captune.metrics.scores.bleu import bleu_from_parts, count_bleu_parts
from captune.metrics.scores.cider import name_frequencies, self_cider, warn_of_one_image
from captune.records import TokenizerName


@dataclass(frozen=True, slots=True)
class SampleDiversity:
    """Diversity of several captions per image, over all images.

    Attributes:
        div_1: Mean over images of distinct words divided by words, 0..1.
        div_2: Mean over images of distinct word pairs divided by words, 0..1.
        mbleu: BLEU-1 to BLEU-4 of each caption against the others of its image, 0..1; lower is
            more varied.
        vocabulary_size: Number of distinct words in all captions.
    """

    div_1: float
    div_2: float
    mbleu: tuple[float, ...]
    vocabulary_size: int


def score_samples(
    candidates: Candidates,
    samples: Mapping[str, Sequence[str]],
    *,
    frequencies: DocumentFrequencies | None = None,
) -> dict[str, MetricColumn]:
    """Return the diversity of several captions per image; the predictions are not used.

    Args:
        candidates: Captions whose references and images are used.
        samples: Image id -> its m captions, for exactly the images of the references.
        frequencies: Self-CIDEr's document frequencies; `None`: counted in the references.

    Raises:
        MetricError: Images lack samples or have no references, or do not all have the same number
            of at least two captions.

    Source: Shetty et al. 2017, Speaking the same language, section 5, for Div and mBLEU; Wang and
    Chan 2019, Describing like humans, section 3.2, for self-CIDEr.
    """
    references = candidates.references
    cut = references.tokenizer
    given = References(samples, tokenizer=cut)
    size = _count_each(given)
    require_same_images(references, given.image_ids, kind="samples")
    captions = dict(zip(given.image_ids, given.captions, strict=True))
    ordered = References(
        {image_id: captions[image_id] for image_id in references.image_ids}, tokenizer=cut
    )
    columns = {
        f"div_{order}": mean_column(values, variant=f"variant:by-words|samples:{size}")
        for order, values in enumerate(_divide_ngrams(ordered), 1)
    }
    parts = _count_mutual_parts(ordered, size)
    for order in range(1, ORDERS + 1):
        value = partial(_mean_bleu, order=order)
        columns[f"mbleu_{order}"] = parts_column(
            parts, value, variant=f"variant:coco|reflen:closest|samples:{size}"
        )
    warn_of_one_image(candidates, frequencies)
    spread = self_cider(captions, frequencies or references.frequencies, tokenizer=cut)
    name = name_frequencies(candidates, frequencies)
    columns["self_cider"] = mean_column(
        np.array([spread[image_id] for image_id in references.image_ids]),
        variant=f"variant:cider|samples:{size}|df:{name}",
    )
    return columns


def measure_samples(
    samples: Mapping[str, Sequence[str]], *, tokenizer: TokenizerName = DEFAULT_TOKENIZER
) -> SampleDiversity:
    """Return the diversity of several captions per image, without any references.

    Args:
        samples: Image id -> its captions, the same number of at least two for every image.
        tokenizer: Tokenizer that splits them into words.

    Raises:
        MetricError: There are no images, or they do not all have the same number of at least two
            captions.

    Source: Shetty et al. 2017, Speaking the same language, section 5. mBLEU is the mean over the
    positions in the list: for each, the corpus BLEU against the captions at the other positions.
    """
    references = References(samples, tokenizer=tokenizer)
    sums = _count_mutual_parts(references, _count_each(references)).sum(axis=0)
    div_1, div_2 = (float(values.mean()) for values in _divide_ngrams(references))
    return SampleDiversity(
        div_1=div_1,
        div_2=div_2,
        mbleu=tuple(float(_mean_bleu(sums, order=order)) for order in range(1, ORDERS + 1)),
        vocabulary_size=len(references.tables[0].ngrams.keys),
    )


def _count_each(samples: References) -> int:
    """Return m, the number of captions of every image."""
    sizes = samples.captions_per_image
    few = int(sizes.argmin())
    if sizes[few] < 2 or sizes[few] != sizes.max():
        raise MetricError(
            f"images have {sizes[few]} to {sizes.max()} captions",
            where=f"image_id {samples.image_ids[few]}",
            fix="sample the same number of captions, two or more, for every image",
        )
    return int(sizes[few])


def _divide_ngrams(samples: References) -> tuple[Floats, Floats]:
    """Return distinct words, and pairs, of each image divided by its words, float64 (N,) each."""
    images = samples.num_images
    words = sum_by(samples.image_of_caption, samples.words.lengths, size=images)
    first, second = (
        np.bincount(_images_of_ngrams(samples, order), minlength=images) / (1e-6 + words)
        for order in (0, 1)
    )
    return first, second


def _images_of_ngrams(samples: References, order: int) -> Ranks:
    """Return the image of each n-gram, once per image that contains it, int32 (X,)."""
    return samples.image_of_caption[samples.tables[order].captions[samples.find_runs(order)]]


def _count_mutual_parts(samples: References, size: int) -> Floats:
    """Return BLEU's parts of the captions at each position against the others, (N, m * 10)."""
    rows = list(zip(samples.image_ids, samples.captions, strict=True))
    parts = []
    for place in range(size):
        others = References(
            {i: [*own[:place], *own[place + 1 :]] for i, own in rows}, tokenizer=samples.tokenizer
        )
        parts.append(
            count_bleu_parts(match_predictions(others, {i: own[place] for i, own in rows}))
        )
    return np.concatenate(parts, axis=1)


def _mean_bleu(parts: Floats, *, order: int) -> Floats:
    """Return the mean BLEU over the positions, (..., m * 10) -> (...,)."""
    by_place = parts.reshape(*parts.shape[:-1], -1, 2 + 2 * ORDERS)
    mean: Floats = bleu_from_parts(by_place, order=order).mean(axis=-1)
    return mean
