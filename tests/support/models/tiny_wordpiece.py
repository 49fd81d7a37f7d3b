"""A small WordPiece tokenizer that knows some English, as bert-base-uncased knows much of it."""

from __future__ import annotations

import string
from pathlib import Path

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def save_wordpiece(folder: Path) -> Path:
    """Save it: every Latin letter as a piece, a few words, accents stripped, and nothing else."""
    folder.mkdir(parents=True)
    letters = [*string.ascii_lowercase, *string.digits, *".,!?'-"]
    pieces = [f"##{letter}" for letter in letters]
    words = ["dog", "cat", "runs", "grass", "on", "the"]
    (folder / "vocab.txt").write_text("\n".join([*SPECIAL, *letters, *pieces, *words]))
    (folder / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "BertTokenizer", "do_lower_case": true}'
    )
    return folder
