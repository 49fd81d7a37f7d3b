"""The folder in which the Python examples of README and docs/reference/python.md run."""

from __future__ import annotations

from pathlib import Path

from captune.data import decode_image, make_shapes
from captune.models import build_size, train_tokenizer
from captune.recipe import TokenizerConfig
from captune.records import CaptionRecord

_RECIPE = """
name: mine
data: {path: "shapes:20", num_workers: 0}
model: {size: blip-tiny}
train: {max_steps: 1, micro_batch_size: 4, global_batch_size: 4, validate_images: 2, trackers: []}
generate: {num_beams: 1, max_new_tokens: 4}
evaluate: {metrics: [bleu], baseline: false, bootstrap_samples: 100}
"""


def save_tiny_model(folder: Path, *, num_images: int = 2) -> list[CaptionRecord]:
    """Save a tiny model with random weights; return the records whose words it knows."""
    records = list(make_shapes(num_images, seed=2, image_size=64))
    texts = [caption for record in records for caption in record.captions]
    tokenizer = train_tokenizer(texts, TokenizerConfig(kind="word", min_count=1))
    build_size("blip-tiny", tokenizer).save(folder)
    return records


def write_example_folder(folder: Path) -> None:
    """Write the demo's model, two images and a recipe under the names that the examples use."""
    records = save_tiny_model(folder / "runs" / "demo" / "model")
    for name, record in zip(("photo.jpg", "other.png"), records, strict=True):
        decode_image(record.image).save(folder / name)
    (folder / "my-recipe.yaml").write_text(_RECIPE, encoding="utf-8")
