"""CIDEr-D (which papers call CIDEr), plain CIDEr, rewards, and self-CIDEr.

Captions are vectors of n-gram counts weighted by how rare the n-grams are; the score is a cosine
with the references. Letters: M candidates, P (candidate, reference) pairs, C reference captions,
G n-grams.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from captune.errors import MetricError
from captune.metrics.counting.candidates import Candidates
from captune.metrics.counting.frequencies import DocumentFrequencies, measure_vectors
from captune.metrics.counting.ngrams import ORDERS
from captune.metrics.counting.references import References, check_caption
from captune.metrics.counting.tokenizers import DEFAULT_TOKENIZER
from captune.metrics.packed import Ints
from captune.metrics.results import Floats, MetricColumn, mean_column, sum_by
from captune.records import TokenizerName
from captune.suggest import format_count

SIGMA = 6.0
"""Standard deviation of CIDEr-D's Gaussian on the difference in length, in words."""

SCALE = 10.0
"""CIDEr's factor: the score of identical captions of four words or more."""


@dataclass(frozen=True, slots=True)
class _Weights:
    """Inverse document frequencies of candidates and references, and the lengths of their vectors.

    Attributes:
        own: float64 (G,) per order, weights of the candidates' n-grams.
        own_norms: float64 (M,) per order.
        reference_norms: float64 (C,) per order.
    """

    own: list[Floats]
    own_norms: list[Floats]
    reference_norms: list[Floats]


def score_cider(
    candidates: Candidates, frequencies: DocumentFrequencies | None = None
) -> dict[str, MetricColumn]:
    """Return CIDEr-D, 0..10, which pycocoevalcap calls CIDEr.

    Args:
        candidates: M captions.
        frequencies: Document frequencies; `None`: counted in the references.

    Source: Vedantam et al. 2015, CIDEr, sections 4 and 5.
    """
    warn_of_one_image(candidates, frequencies)
    values = compute_cider(candidates, frequencies)
    variant = f"variant:cider-d|sigma:6|df:{name_frequencies(candidates, frequencies)}"
    return {"cider": mean_column(values, variant=variant)}


def score_plain_cider(
    candidates: Candidates, frequencies: DocumentFrequencies | None = None
) -> dict[str, MetricColumn]:
    """Return plain CIDEr, 0..10, without clipping and length penalty.

    Args:
        candidates: M captions.
        frequencies: Document frequencies; `None`: counted in the references.

    Source: Vedantam et al. 2015, CIDEr, section 4, without its stemming.
    """
    warn_of_one_image(candidates, frequencies)
    values = compute_plain_cider(candidates, frequencies)
    variant = f"variant:cider|stem:no|df:{name_frequencies(candidates, frequencies)}"
    return {"cider_plain": mean_column(values, variant=variant)}


def compute_cider(candidates: Candidates, frequencies: DocumentFrequencies | None = None) -> Floats:
    """Return CIDEr-D of each candidate.

    Args:
        candidates: M captions.
        frequencies: Document frequencies; `None`: counted in the references.

    Returns:
        float64 (M,).
    """
    weights = _weigh(candidates, frequencies)
    similarity = _sum_orders(candidates, weights, product=_clipped_product)
    # The reference implementation uses the number of bigrams as the length.
    own = np.maximum(candidates.words.lengths - 1, 0)
    other = np.maximum(candidates.references.words.lengths - 1, 0)
    delta = own[candidates.pair_candidates] - other[candidates.pair_references]
    return _mean_of_pairs(candidates, similarity * np.exp(-(delta**2) / (2 * SIGMA**2)))


def compute_plain_cider(
    candidates: Candidates, frequencies: DocumentFrequencies | None = None
) -> Floats:
    """Return plain CIDEr of each candidate.

    Args:
        candidates: M captions.
        frequencies: Document frequencies; `None`: counted in the references.

    Returns:
        float64 (M,).
    """
    weights = _weigh(candidates, frequencies)
    return _mean_of_pairs(candidates, _sum_orders(candidates, weights, product=np.multiply))


def cider_rewards(
    references: References,
    captions: Sequence[str],
    *,
    image_ids: Sequence[str],
    frequencies: DocumentFrequencies | None = None,
) -> Floats:
    """Return CIDEr-D of any number of captions per image, for self-critical training.

    Args:
        references: The human captions.
        captions: M captions.
        image_ids: The image of each caption.
        frequencies: Document frequencies; `None`: counted in the references.

    Returns:
        float64 (M,).

    Raises:
        MetricError: The lengths differ, an image has no references, or a caption is not text.
    """
    if len(captions) != len(image_ids):
        raise MetricError(
            f"{format_count(len(captions), 'caption')} and"
            f" {format_count(len(image_ids), 'image id')}",
            fix="give one image id per caption",
        )
    for image_id, caption in zip(image_ids, captions, strict=True):
        check_caption(caption, image_id=image_id, kind="caption")
        if image_id not in references.index:
            raise MetricError(
                f"image {image_id} has no references",
                where=f"image_id {image_id}",
                fix="add a human caption for it, or remove its prediction",
            )
    images = np.fromiter((references.index[i] for i in image_ids), np.int64, len(image_ids))
    return compute_cider(Candidates(references, captions, images=images), frequencies)


def self_cider(
    samples: Mapping[str, Sequence[str]],
    frequencies: DocumentFrequencies,
    *,
    tokenizer: TokenizerName = DEFAULT_TOKENIZER,
) -> dict[str, float]:
    """Return the diversity of several captions of one image, 0 (all equal) to 1.

    Args:
        samples: Image id -> at least two captions.
        frequencies: Document frequencies, usually `References.frequencies`.
        tokenizer: Tokenizer that splits the captions into words.

    Returns:
        Image id -> self-CIDEr.

    Raises:
        MetricError: An image has fewer than two captions.

    Source: Wang and Chan 2019, Describing like humans, section 3.2; plain CIDEr as the kernel.
    """
    few = [image_id for image_id, captions in samples.items() if len(captions) < 2]
    if few:
        raise MetricError(
            f"self-CIDEr compares captions of one image, and image {few[0]} has fewer than two",
            where=f"image_id {few[0]}",
            fix="sample at least two captions per image",
        )
    if not samples:
        return {}
    references = References(samples, tokenizer=tokenizer)
    captions = [caption for own in references.captions for caption in own]
    candidates = Candidates(
        references, captions, images=references.image_of_caption.astype(np.int64)
    )
    weights = _weigh(candidates, frequencies)
    kernel = _sum_orders(candidates, weights, product=np.multiply) / ORDERS
    values, start = {}, 0
    for image_id, own in zip(references.image_ids, references.captions, strict=True):
        stop = start + len(own) ** 2
        values[image_id] = _spread(kernel[start:stop].reshape(len(own), len(own)))
        start = stop
    return values


def warn_of_one_image(candidates: Candidates, frequencies: DocumentFrequencies | None) -> None:
    """Warn if document frequencies counted in the references cannot weight n-grams."""
    if frequencies is None and candidates.references.num_images == 1:
        warnings.warn(
            "CIDEr of one image is 0, as every n-gram is in its only document: "
            "give document frequencies counted in a larger set",
            UserWarning,
            stacklevel=2,
        )


def name_frequencies(candidates: Candidates, frequencies: DocumentFrequencies | None) -> str:
    """Return the name of the document frequencies in signatures."""
    if frequencies is None or frequencies is candidates.references.frequencies:
        return "corpus"
    return frequencies.label


def _weigh(candidates: Candidates, frequencies: DocumentFrequencies | None) -> _Weights:
    references = candidates.references
    if frequencies is None:
        frequencies = references.frequencies
        own = [frequencies.weigh_ranks(ranks, n) for n, ranks in enumerate(candidates.ranks)]
    else:
        frequencies.require_tokenizer(references.tokenizer)
        ngrams = [table.ngrams for table in candidates.tables]
        own = list(frequencies.weigh(ngrams, candidates.vocabulary))
    return _Weights(
        own,
        measure_vectors(candidates.tables, own, num_captions=len(candidates.images)),
        references.measure_with(frequencies),
    )


def _clipped_product(own: Floats, other: Floats) -> Floats:
    product: Floats = np.minimum(own, other) * other
    return product


def _sum_orders(
    candidates: Candidates, weights: _Weights, *, product: Callable[[Floats, Floats], Floats]
) -> Floats:
    """Return the similarity of each pair, summed over the orders.

    Args:
        candidates: M captions.
        weights: Weights of their n-grams.
        product: Product of the weighted counts of one shared n-gram.

    Returns:
        float64 (P,).
    """
    total = np.zeros(len(candidates.pair_candidates))
    for order in range(ORDERS):
        own, other = _expand_matches(candidates, order)
        table, reference_table = candidates.tables[order], candidates.references.tables[order]
        weight = np.repeat(weights.own[order], np.diff(table.offsets))[own]
        shared = product(table.counts[own] * weight, reference_table.counts[other] * weight)
        candidate, reference = table.captions[own], reference_table.captions[other]
        first = candidates.references.first_caption[candidates.images[candidate]]
        pairs = candidates.pair_starts[candidate] + reference - first
        sums = sum_by(pairs, shared, size=len(total))
        norms = (
            weights.own_norms[order][candidates.pair_candidates]
            * weights.reference_norms[order][candidates.pair_references]
        )
        total += np.divide(sums, norms, out=sums, where=norms != 0)
    return total


def _expand_matches(candidates: Candidates, order: int) -> tuple[Ints, Ints]:
    """Return entries of candidates and of references with the same n-gram for the same image."""
    matches = candidates.matches[order]
    starts, sizes = matches.starts, matches.sizes
    own = np.repeat(matches.entries, sizes)
    within = np.arange(len(own)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return own, np.repeat(starts, sizes) + within


def _mean_of_pairs(candidates: Candidates, similarity: Floats) -> Floats:
    sums = sum_by(candidates.pair_candidates, similarity, size=len(candidates.images))
    each = candidates.references.captions_per_image[candidates.images]
    score: Floats = sums / ORDERS / each * SCALE
    return score


def _spread(kernel: Floats) -> float:
    """Return the evenness of the captions' directions, 0..1, from the kernel's eigenvalues."""
    roots = np.sqrt(np.clip(np.linalg.eigvalsh(kernel), 0.0, None))
    total = float(roots.sum())
    if total == 0.0:
        return 0.0
    return float(max(0.0, -np.log(roots[-1] / total) / np.log(len(kernel))))
