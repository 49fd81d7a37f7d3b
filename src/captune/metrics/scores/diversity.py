"""Variety of captions, and the score of a constant caption: signs of a collapsed model.

A model that gives every image the same safe sentence gets a decent BLEU; these figures reveal it.
Words are those of the chosen tokenizer, lower-cased and without punctuation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from captune.metrics.counting.candidates import Candidates
from captune.metrics.counting.ngrams import ORDERS, measure_gaps
from captune.metrics.counting.references import References
from captune.metrics.counting.tokenizers import DEFAULT_TOKENIZER, tokenize_with
from captune.metrics.results import Floats, MetricColumn, mean_column, sum_by
from captune.records import TokenizerName


def score_diversity(candidates: Candidates) -> dict[str, MetricColumn]:
    """Return the diversity of the predictions: distinct words, captions, and lengths."""
    captions = Counter(tuple(tokens) for tokens in candidates.tokens)
    total = len(candidates.tokens)
    single, pair = candidates.tables[0], candidates.tables[1]
    variant = "variant:corpus"
    lengths = candidates.words.lengths.astype(np.float64)
    return {
        "distinct_1": _corpus_only(_share(len(single.ngrams.keys), single.counts.sum()), variant),
        "distinct_2": _corpus_only(_share(len(pair.ngrams.keys), pair.counts.sum()), variant),
        "vocabulary_size": _corpus_only(float(len(single.ngrams.keys)), variant),
        "distinct_captions": _corpus_only(_share(len(captions), total), variant),
        "most_frequent_share": _corpus_only(_share(max(captions.values()), total), variant),
        "mean_length": mean_column(lengths, variant=variant),
    }


def constant_caption_baseline(
    references: References | Mapping[str, Sequence[str]],
    *,
    tokenizer: TokenizerName = DEFAULT_TOKENIZER,
) -> str:
    """Return the caption that scores best when every image gets it.

    It is the reference with the highest mean similarity (plain CIDEr) to the references of all
    other images: all candidates are rated at once, against the sum of all vectors. If several are
    equal, the first wins. If all weights are 0, as with one image, it is the most frequent caption.

    Args:
        references: Human captions, usually those of the training split.
        tokenizer: Tokenizer that splits them into words; `References` have their own.

    Returns:
        One of the captions, as written.
    """
    if not isinstance(references, References):
        references = References(references, tokenizer=tokenizer)
    captions = [caption for own in references.captions for caption in own]
    ratings = rate_constant_captions(references)
    if not ratings.any():
        return Counter(captions).most_common(1)[0][0]
    # Ratings of equal captions differ in the last digits, because their sums run in another order.
    return captions[int(np.flatnonzero(ratings >= ratings.max() - 1e-12)[0])]


def rate_constant_captions(references: References) -> Floats:
    """Return plain CIDEr, 0..10, of each reference caption given to every image but its own.

    Returns:
        float64 (C,).
    """
    frequencies = references.frequencies
    norms = references.measure_with(frequencies)
    weights = frequencies.weigh(references.ngrams, references.vocabulary)
    images = references.image_of_caption
    share = 1.0 / references.captions_per_image[images]
    ratings = np.zeros(len(images))
    for order, weight in enumerate(weights):
        table = references.tables[order]
        runs = references.find_runs(order)
        ranks = table.entry_ranks
        norm = norms[order][table.captions]
        vector = table.counts * weight[ranks]
        unit = np.divide(vector, norm, out=np.zeros_like(vector), where=norm != 0)
        mean = unit * share[table.captions]
        others = sum_by(ranks, mean, size=len(table.ngrams.keys))[ranks]
        own = np.add.reduceat(mean, runs) if len(mean) else mean
        others -= np.repeat(own, measure_gaps(runs, end=len(mean)))
        ratings += sum_by(table.captions, unit * others, size=len(images))
    rated: Floats = 10.0 * ratings / ORDERS / max(1, references.num_images - 1)
    return rated


def measure_copied_share(
    predictions: Mapping[str, str],
    training_captions: Sequence[str],
    *,
    tokenizer: TokenizerName = DEFAULT_TOKENIZER,
) -> float:
    """Return the share of predictions that are, word for word, captions of the training set, 0..1.

    The comparison ignores case and punctuation.

    Args:
        predictions: Image id -> caption.
        training_captions: All captions of the training set.
        tokenizer: Tokenizer that splits the captions into words.
    """
    if not predictions:
        return 0.0
    known = {tuple(tokens) for tokens in tokenize_with(training_captions, tokenizer)}
    own = tokenize_with(list(predictions.values()), tokenizer)
    return sum(tuple(tokens) in known for tokens in own) / len(own)


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0


def _corpus_only(value: float, variant: str) -> MetricColumn:
    return MetricColumn(value, None, None, variant)
