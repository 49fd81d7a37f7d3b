"""A tiny random BERT, for tests of what BERTScore does with a model."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import BertConfig, BertModel

WORDS = ["a", "the", "two", "dog", "cats", "bird", "runs", "sit", "on", "grass", "red", "small"]
WORDS += ["beach", "ball"]


def save_bert(folder: Path, *, layers: int) -> Path:
    """Save the model with its tokenizer; the folder's name is what bert_score may know it by."""
    folder.mkdir(parents=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 32}
    config = BertConfig(
        vocab_size=len(vocabulary),
        num_hidden_layers=layers,
        max_position_embeddings=16,
        **sizes,
    )
    BertModel(config).save_pretrained(folder)
    return folder
