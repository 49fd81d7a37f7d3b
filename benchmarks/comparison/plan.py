"""What `benchmarks/compare.py` compares: rows, sides, models, and the work of one process."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

SIDES = ("captune", "plain", "notebook")
"""`plain`: transformers done well; `notebook`: as the public notebooks do it."""

ROWS = {
    "train-full": "full fine-tuning, 5 captions per image",
    "train-frozen": "vision frozen, after the first epoch",
    "caption-greedy": "captioning, greedy, 20 tokens",
    "caption-greedy-int8": "captioning, greedy, 20 tokens, int8",
    "caption-beams": "captioning, 5 beams, 20 tokens",
    "caption-beams-int8": "captioning, 5 beams, 20 tokens, int8",
    "data-first": "photographs to model-ready pixels, first pass",
    "data-later": "photographs to model-ready pixels, later passes",
    "latency": "one image, greedy, 20 tokens, warm",
}
"""Name -> what is done."""

UNITS = {"train": "captions/s", "caption": "images/s", "data": "images/s", "latency": "images/s"}

MODELS = ("blip-base", "git-base", "vit-gpt2-base")
QUICK_MODELS = ("blip-tiny",)

TASKS: dict[str, tuple[str, ...]] = {
    "train-full": ("train-full",),
    "train-frozen": ("train-frozen",),
    "caption": ("caption-greedy", "latency", "caption-beams"),
    "int8": ("caption-greedy-int8", "caption-beams-int8"),
    "data": ("data-first", "data-later"),
}
"""Work of one process -> its rows. int8 has the other sides' figures of the rows without it."""


@dataclass(frozen=True)
class Task:
    """The work of one process.

    Attributes:
        name: One of `TASKS`.
        rows: Those of its rows that are asked for.
        side: One of `SIDES`.
        model: Name of the model.
        folder: The model's folder.
        photos: JSON file with a list of [path, captions].
        fp32: Whether all sides compute in float32.
        seconds: Minimum time of each measurement.
        plain_batch: Images per batch of `plain`, and captions per batch in training.
        batch: Images per batch of captune.
        precision: captune's, in captioning.
        backend: What runs captune's model in captioning.
    """

    name: str
    rows: tuple[str, ...]
    side: str
    model: str
    folder: str
    photos: str
    fp32: bool
    seconds: float
    plain_batch: int
    batch: int
    precision: str = "auto"
    backend: Literal["auto", "torch", "openvino", "onnx"] = "auto"

    @classmethod
    def read(cls, text: str) -> Task:
        """Return the task of a command line."""
        values = json.loads(text)
        return cls(**{**values, "rows": tuple(values["rows"])})

    def write(self) -> str:
        """Return the task as one argument of a command line."""
        return json.dumps(asdict(self))

    def read_photos(self) -> list[tuple[Path, list[str]]]:
        """Return the photographs with their captions."""
        content = json.loads(Path(self.photos).read_text(encoding="utf-8"))
        return [(Path(path), captions) for path, captions in content]


@dataclass
class Figures:
    """What one process measured.

    Attributes:
        rates: Row -> captions or images per second.
        details: Figures beside them: memory, the share of the limit, what was chosen.
    """

    rates: dict[str, float] = field(default_factory=dict)
    details: dict[str, object] = field(default_factory=dict)
