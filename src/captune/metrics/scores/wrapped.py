"""sacrebleu, ROUGE-1/2/L/Lsum and WER, computed by the libraries that define them.

They tokenize captions in their own ways, so their numbers differ from those of the COCO metrics
with the same names: a COCO BLEU-4 of 0.191 is a sacrebleu of 18.4 on the same captions. The
signature shows the difference.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from captune.errors import MetricError
from captune.metrics.counting.candidates import Candidates
from captune.metrics.counting.ngrams import ORDERS
from captune.metrics.counting.tokenizers import DEFAULT_TOKENIZER, sign_tokenizer
from captune.metrics.results import Floats, MetricColumn, Statistic, divide_sums, mean_column

ROUGE_TYPES = ("rouge1", "rouge2", "rougeL", "rougeLsum")

MAX_WORD_PAIRS = 4_000_000
"""Largest product of the words of a prediction and of a reference for rouge_score, which builds a
table of that many Python numbers: 3 s at this limit, over 2 minutes and 2 GB at 10,000 words
each."""


def score_sacrebleu(candidates: Candidates) -> dict[str, MetricColumn]:
    """Return sacrebleu's BLEU, 0..100: lower-cased, with exponential smoothing.

    Tokens are 13a, or those of the chosen tokenizer, which is one of sacrebleu's. The value per
    image is sacrebleu's sentence BLEU (effective order).
    """
    import sacrebleu

    chosen = candidates.references.tokenizer
    cut = "13a" if chosen == DEFAULT_TOKENIZER else chosen
    scorer = sacrebleu.BLEU(lowercase=True, tokenize=cut)
    captions = [_join_words(caption) for caption in candidates.captions]
    parts = np.array(
        [
            _count_sacrebleu_parts(scorer.corpus_score([caption], [[r] for r in references]))
            for caption, references in zip(captions, _references_of(candidates), strict=True)
        ]
    )
    corpus = partial(sacrebleu_from_parts, effective_order=False)
    return {
        "sacrebleu": MetricColumn(
            corpus=float(corpus(parts.sum(axis=0))),
            per_image=sacrebleu_from_parts(parts, effective_order=True),
            statistic=Statistic(parts, corpus),
            variant=f"case:lc|eff:no|tok:{cut}|smooth:exp|sacrebleu:{sacrebleu.__version__}",
        )
    }


def sacrebleu_from_parts(parts: Floats, *, effective_order: bool) -> Floats:
    """Return BLEU by sacrebleu's formula, for many sums at once.

    Args:
        parts: float64 (..., 10): words, reference words, n-grams of 1 to 4 words, their matches.
        effective_order: Omit orders for which the captions are too short.

    Returns:
        float64 (...,), 0..100.
    """
    words, reference_words = parts[..., 0], parts[..., 1]
    totals, matches = parts[..., 2 : 2 + ORDERS], parts[..., 2 + ORDERS :]
    # Each order without a match counts half as much as the one before: 1/2, 1/4, ... of a match.
    smoothing = 0.5 ** np.cumsum((matches == 0) & (totals > 0), axis=-1)
    smoothed = np.where(matches > 0, matches, smoothing)
    # An order without n-grams has precision 0, whose logarithm sacrebleu takes as -9999999999.
    present = totals > 0
    logarithms = np.full(totals.shape, -9999999999.0)
    np.log(100.0 * smoothed / np.where(present, totals, 1.0), out=logarithms, where=present)
    if effective_order:
        logarithms = np.where(present, logarithms, 0.0)
        orders = np.maximum(present.sum(axis=-1), 1)
    else:
        orders = np.full(words.shape, ORDERS)
    shortfall = 1 - reference_words / np.where(words > 0, words, 1.0)
    penalty = np.where(words > 0, np.exp(np.minimum(shortfall, 0.0)), 0.0)
    score = penalty * np.exp(logarithms.sum(axis=-1) / orders)
    result: Floats = np.where(matches.any(axis=-1), score, 0.0)
    return result


_ROUGE_WORD = re.compile("[A-Za-z0-9]+")


def score_rouge(candidates: Candidates) -> dict[str, MetricColumn]:
    """Return rouge_score's ROUGE-1, -2, -L and -Lsum, 0..1: F of the best reference.

    Words are rouge_score's: stemmed, of the letters a to z and digits. With a chosen tokenizer,
    they are that tokenizer's words, not stemmed.

    Raises:
        MetricError: Two captions are so long that rouge_score would take minutes and gigabytes.
    """
    from importlib.metadata import version

    from rouge_score.rouge_scorer import RougeScorer

    is_default = candidates.references.tokenizer == DEFAULT_TOKENIZER
    scorer = RougeScorer(
        ROUGE_TYPES, use_stemmer=is_default, tokenizer=None if is_default else _CutAtBlanks()
    )
    values = np.zeros((len(candidates.captions), len(ROUGE_TYPES)))
    for place, (caption, references) in enumerate(_read_words(candidates)):
        _check_lengths(caption, references, where=_name_image(candidates, place))
        scores = scorer.score_multi(references, caption)
        values[place] = [scores[kind].fmeasure for kind in ROUGE_TYPES]
    stem = "stem:porter" if is_default else f"stem:none|{_sign_tokens(candidates)}"
    variant = f"{stem}|multi:best-f|rouge_score:{version('rouge_score')}"
    return {
        kind: mean_column(values[:, place], variant=variant)
        for place, kind in enumerate(ROUGE_TYPES)
    }


class _CutAtBlanks:
    """Tokenizer of rouge_score for captions with spaces between the words."""

    def tokenize(self, text: str) -> list[str]:
        return text.split()


def _check_lengths(caption: str, references: Sequence[str], *, where: str) -> None:
    # The scorer counts words between spaces, or words of letters and digits: at most the larger.
    own, *others = (
        max(len(text.split()), len(_ROUGE_WORD.findall(text))) for text in (caption, *references)
    )
    longest = max(others)
    if own * longest > MAX_WORD_PAIRS:
        raise MetricError(
            f"a prediction of {own} words against a reference of {longest} words is too long for"
            " rouge_score",
            where=where,
            fix=f"keep the product of both lengths under {MAX_WORD_PAIRS:,}, or remove rouge from"
            " the metrics",
        )


def _name_image(candidates: Candidates, place: int) -> str:
    return f"image_id {candidates.references.image_ids[int(candidates.images[place])]}"


def score_wer(candidates: Candidates) -> dict[str, MetricColumn]:
    """Return jiwer's word error rates of lower-cased captions, 0 (best) and up.

    Words are the text between spaces, or those of the chosen tokenizer. `wer` is the mean over
    images of the lowest rate over references; `wer_first` is the number of all edits divided by
    that of all words of the first references.
    """
    from importlib.metadata import version

    lowest, first = [], []
    for caption, references in _read_words(candidates):
        prediction = caption.lower()
        counted = [_count_edits(prediction, reference.lower()) for reference in references]
        lowest.append(min(_divide_edits(edits, words) for edits, words in counted))
        first.append(counted[0])
    is_default = candidates.references.tokenizer == DEFAULT_TOKENIZER
    tokens = "" if is_default else f"{_sign_tokens(candidates)}|"
    variant = f"case:lc|{tokens}jiwer:{version('jiwer')}"
    parts = np.array(first, np.float64)
    return {
        "wer": mean_column(np.array(lowest), variant=f"refs:lowest|{variant}"),
        "wer_first": MetricColumn(
            corpus=float(divide_sums(parts.sum(axis=0))),
            per_image=np.array([_divide_edits(*row) for row in first]),
            statistic=Statistic(parts, divide_sums),
            variant=f"refs:first|{variant}",
        ),
    }


def _join_words(caption: str) -> str:
    return " ".join(caption.split())


def _sign_tokens(candidates: Candidates) -> str:
    return f"tok:{sign_tokenizer(candidates.references.tokenizer)}"


def _read_words(candidates: Candidates) -> Iterator[tuple[str, list[str]]]:
    """Yield each caption and its references, with spaces between the words to count."""
    references = candidates.references
    if references.tokenizer == DEFAULT_TOKENIZER:
        captions = map(_join_words, candidates.captions)
        yield from zip(captions, _references_of(candidates), strict=True)
        return
    human = list(map(" ".join, references.tokens))
    rows = zip(candidates.tokens, candidates.images.tolist(), strict=True)
    for own, image in rows:
        first = int(references.first_caption[image])
        yield " ".join(own), human[first : first + len(references.captions[image])]


def _references_of(candidates: Candidates) -> list[list[str]]:
    captions = candidates.references.captions
    joined = [[_join_words(caption) for caption in own] for own in captions]
    return [joined[image] for image in candidates.images]


def _count_sacrebleu_parts(score: object) -> list[float]:
    parts = [score.sys_len, score.ref_len, *score.totals, *score.counts]  # type: ignore[attr-defined]
    return [float(part) for part in parts]


def _count_edits(prediction: str, reference: str) -> tuple[int, int]:
    """Return the edits from the prediction to the reference, and the reference's words."""
    import jiwer

    if not reference:
        # jiwer rejects an empty reference; every word of the prediction is an insertion.
        return len(prediction.split()), 0
    measured = jiwer.process_words(reference, prediction)
    edits = measured.substitutions + measured.deletions + measured.insertions
    return edits, measured.substitutions + measured.deletions + measured.hits


def _divide_edits(edits: int, words: int) -> float:
    """Return edits per reference word; for a reference without words, the number of edits."""
    return edits / max(words, 1)
