"""BERTScore: similarity of the words of two captions in a language model, each in its context.

The package bert_score defines the metric and contains the layer and the baselines of each model;
captune uses those, but not the package's scoring. With transformers 5, that raises an error on an
empty caption, omits the space that RoBERTa's tokenizer needs before the first word, batches in an
order that differs between processes, and keeps every embedding of the whole set. Tests compare the
values of both. torch is imported only when a model is loaded.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from captune.errors import MissingExtraError, ModelError
from captune.metrics.results import Floats, MetricColumn, mean_column

if TYPE_CHECKING:
    import torch

    from captune.metrics.counting.candidates import Candidates

DEFAULT_BERT_MODEL = "roberta-large"
"""bert_score's default for English."""

BLOCK_PAIRS = 4096
"""Pairs whose captions are embedded together: about 300 MB, whatever the number of images."""


@dataclass(frozen=True)
class BertScorer:
    """A loaded language model.

    Attributes:
        name: Name of the model in signatures.
        model: Its lowest `num_layers` layers, in eval mode, float32.
        tokenizer: Its tokenizer.
        num_layers: Number of layers used.
        baseline: F of unrelated captions, 0..1; `None` if bert_score publishes none for this model.
        device: Torch device of the model.
        batch_size: Captions per batch.
    """

    name: str
    model: Any
    tokenizer: Any
    num_layers: int
    baseline: float | None
    device: str
    batch_size: int

    @classmethod
    def load(cls, source: str | Path, *, device: str = "cpu", batch_size: int = 64) -> BertScorer:
        """Load a model.

        A model that bert_score knows, by its hub id or as a folder with that name, uses the layer
        and the baseline that bert_score publishes; any other model uses all layers and has no
        baseline.

        Args:
            source: Hub id or folder, such as `roberta-large`.
            device: A torch device.
            batch_size: Captions per batch.

        Raises:
            MissingExtraError: bert_score is not installed.
            ModelError: The model is missing, or bert_score does not support its kind.
        """
        require_bert_score()
        from bert_score.utils import get_model, model2layers
        from transformers import AutoConfig

        published = find_published(str(source), known=model2layers)
        try:
            config = AutoConfig.from_pretrained(source)
            num_layers = model2layers.get(published, config.num_hidden_layers)
            model = get_model(str(source), num_layers)
            tokenizer = _load_tokenizer(source, config=config)
        except (OSError, ValueError, AttributeError, AssertionError) as error:
            raise ModelError(
                f"{source} cannot be loaded for BERTScore: {(str(error) or repr(error))[:200]}",
                fix="give a hub id or folder of an encoder, such as roberta-large",
            ) from error
        baseline = _read_baseline(published, num_layers=num_layers)
        model = model.float().eval().to(device)
        name = published or Path(source).name
        return cls(name, model, tokenizer, num_layers, baseline, device, batch_size)

    @property
    def variant(self) -> str:
        """Description of the model in signatures."""
        from importlib.metadata import version

        return (
            f"model:{self.name}|layers:{self.num_layers}|idf:no|multi:max"
            f"|bert_score:{version('bert_score')}|transformers:{version('transformers')}"
        )


def score_bert(candidates: Candidates, scorer: BertScorer) -> dict[str, MetricColumn]:
    """Return BERTScore's F with the best reference of each caption.

    `bert_score_raw` is F itself; `bert_score` is rescaled, so that unrelated captions score about
    0. A caption without words scores 0 in both.

    Args:
        candidates: M captions.
        scorer: The model.

    Returns:
        Both, or only `bert_score_raw` if the model has no baseline.

    Source: Zhang et al. 2020, BERTScore, sections 3 and 5.
    """
    texts = [text for texts in candidates.references.captions for text in texts]
    pairs = list(
        zip(candidates.pair_candidates.tolist(), candidates.pair_references.tolist(), strict=True)
    )
    values = np.concatenate(
        [
            match_captions(
                [candidates.captions[own] for own, _ in block],
                [texts[other] for _, other in block],
                scorer=scorer,
            )
            for block in _cut(pairs, BLOCK_PAIRS)
        ]
    )
    best = np.fmax.reduceat(values, candidates.pair_starts)
    is_empty = np.isnan(best)
    columns = {}
    if scorer.baseline is not None:
        rescaled = (best - scorer.baseline) / (1.0 - scorer.baseline)
        variant = f"{scorer.variant}|baseline:{scorer.baseline:.6f}"
        columns["bert_score"] = mean_column(np.where(is_empty, 0.0, rescaled), variant=variant)
    raw = np.where(is_empty, 0.0, best)
    columns["bert_score_raw"] = mean_column(raw, variant=f"{scorer.variant}|baseline:no")
    return columns


def match_captions(
    captions: Sequence[str], references: Sequence[str], *, scorer: BertScorer
) -> Floats:
    """Return F of each caption against the reference at the same index.

    Args:
        captions: P captions.
        references: P captions.
        scorer: The model.

    Returns:
        float64 (P,), NaN if either has no words.
    """
    import torch

    different = sorted({*captions, *references})
    states = dict(zip(different, _embed(different, scorer=scorer), strict=True))
    values = np.full(len(captions), np.nan)
    with torch.inference_mode():
        for place, (caption, reference) in enumerate(zip(captions, references, strict=True)):
            (own, own_weight), (other, other_weight) = states[caption], states[reference]
            if own_weight.any() and other_weight.any():
                cosines = own @ other.T
                precision = (cosines.amax(dim=1) * own_weight).sum() / own_weight.sum()
                recall = (cosines.amax(dim=0) * other_weight).sum() / other_weight.sum()
                both = float(precision + recall)
                values[place] = 2.0 * float(precision * recall) / both if both else 0.0
    return values


def find_published(source: str, *, known: dict[str, int]) -> str:
    """Return the name by which bert_score knows a model, from its id or folder; empty if unknown.

    Args:
        source: Hub id (`FacebookAI/roberta-large` is `roberta-large`) or folder.
        known: Name of a model -> layer.
    """
    parts = Path(source).parts
    names = ["/".join(parts[-count:]) for count in (2, 1) if len(parts) >= count]
    return next((name for name in (source, *names) if name in known), "")


def require_bert_score() -> None:
    """Check that bert_score is installed, without importing it and torch.

    Raises:
        MissingExtraError: It is not installed.
    """
    if find_spec("bert_score") is None:
        raise MissingExtraError(
            "BERTScore needs the package bert_score", fix="pip install 'captune[bert_score]'"
        )


def _load_tokenizer(source: str | Path, *, config: Any) -> Any:
    from transformers import AutoTokenizer, GPT2Tokenizer, RobertaTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source)
    if isinstance(tokenizer, GPT2Tokenizer | RobertaTokenizer):
        # Without a space before it, these split a first word into other tokens, and the published
        # figures use that space.
        tokenizer = AutoTokenizer.from_pretrained(source, add_prefix_space=True)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    limit = getattr(config, "max_position_embeddings", None) or tokenizer.model_max_length
    if config.model_type in {"roberta", "xlm-roberta", "camembert"}:
        limit -= config.pad_token_id + 1  # Their positions start after that of padding.
    tokenizer.model_max_length = min(tokenizer.model_max_length, limit)
    return tokenizer


def _read_baseline(published: str, *, num_layers: int) -> float | None:
    from importlib.resources import files

    path = files("bert_score") / "rescale_baseline" / "en" / f"{published}.tsv"
    if not published or not path.is_file():
        return None
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return next((float(row["F"]) for row in rows if int(row["LAYER"]) == num_layers), None)


def _embed(
    captions: Sequence[str], *, scorer: BertScorer
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return each caption's unit states (L, D) and weights (L,), 0 for special tokens, else 1."""
    import torch

    tokenizer = scorer.tokenizer
    ids = tokenizer(
        [caption.strip() for caption in captions],
        truncation=True,
        max_length=tokenizer.model_max_length,
    )["input_ids"]
    marks = (tokenizer.cls_token_id, tokenizer.sep_token_id)
    special = torch.tensor([mark for mark in marks if mark is not None])
    # Sorted by length, so that there is little padding; batches are the same in every process.
    order = sorted(range(len(ids)), key=lambda place: len(ids[place]))
    embedded: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    for batch in _cut(order, scorer.batch_size):
        padded = tokenizer.pad({"input_ids": [ids[place] for place in batch]}, return_tensors="pt")
        with torch.inference_mode():
            states = scorer.model(
                padded["input_ids"].to(scorer.device),
                attention_mask=padded["attention_mask"].to(scorer.device),
            )[0]
            states = torch.nn.functional.normalize(states.float(), dim=-1).cpu()
        for row, place in enumerate(batch):
            kept = padded["attention_mask"][row].bool()
            words = padded["input_ids"][row][kept]
            embedded[place] = states[row][kept], (~torch.isin(words, special)).float()
    return [embedded[place] for place in range(len(ids))]


def _cut(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
