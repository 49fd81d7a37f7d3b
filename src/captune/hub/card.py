"""The usage section of a model card: the hub's task tag, and code that runs as shown.

transformers no longer has an `image-to-text` pipeline; its successor `image-text-to-text` needs a
text, passes it to `generate` as a prompt, and fails for encoder-decoder pairs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from captune.hub.json_files import read_json_file
from captune.hub.loading import load_pretrained

Task = Literal["image-text-to-text", "image-to-text"]

PLACEHOLDER = "THIS_FOLDER"
"""Placeholder for the model's id in `describe_use`, until the model is pushed."""

EXAMPLES_PLACE = "<!-- captune: examples -->"
PLOTS_PLACE = "<!-- captune: plots -->"
"""Places of the card that pushing fills, since only it knows which files are pushed."""

_WITH_CAPTUNE = """```python
import captune

print(captune.load("THIS_FOLDER").caption("photo.jpg")[0].caption)
```"""

_WITH_PIPELINE = """```python
from transformers import pipeline

captioner = pipeline("image-text-to-text", "THIS_FOLDER")
print(captioner("photo.jpg", text="")[0]["generated_text"])
```"""

_WITH_GENERATE = """```python
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

processor = AutoProcessor.from_pretrained("THIS_FOLDER"{remote})
model = AutoModelForImageTextToText.from_pretrained("THIS_FOLDER"{remote})
image = Image.open("photo.jpg").convert("RGB")
inputs = processor.image_processor(image, return_tensors="pt")
print(processor.decode(model.generate(**inputs)[0], skip_special_tokens=True))
```"""


def choose_task(folder: Path) -> Task:
    """Return `image-text-to-text` if that pipeline captions with the model, else `image-to-text`.

    Args:
        folder: A saved model.

    Raises:
        ModelError: The folder cannot be read.
    """
    model_type = _model_type(folder)
    if model_type == "blip" or (model_type == "git" and not _ends_prompts(folder)):
        return "image-text-to-text"
    return "image-to-text"


def describe_use(folder: Path) -> str:
    """Return the card's usage section, with `PLACEHOLDER` for the model's id.

    Raises:
        ModelError: The folder cannot be read.
    """
    remote = ", trust_remote_code=True" if needs_own_code(folder) else ""
    own_code = " It includes its one modeling file." if remote else ""
    plain = (
        _WITH_PIPELINE
        if choose_task(folder) == "image-text-to-text"
        else _WITH_GENERATE.replace("{remote}", remote)
    )
    return (
        f"{_WITH_CAPTUNE}\n\nThe folder is a plain transformers model and also loads without"
        f" captune.{own_code}\n\n{plain}"
    )


def needs_own_code(folder: Path) -> bool:
    """Return whether transformers loads a model with the modeling file in its folder.

    Raises:
        ModelError: The folder cannot be read.
    """
    return _model_type(folder).startswith("captune-")


def _model_type(folder: Path) -> str:
    config = read_json_file(str(folder), "config.json", where=str(folder))
    return str(config.get("model_type", "")) if isinstance(config, dict) else ""


def _ends_prompts(folder: Path) -> bool:
    """Return whether the tokenizer adds an end token to a prompt; GIT then generates nothing."""
    from transformers import AutoTokenizer

    tokenizer = load_pretrained(AutoTokenizer, str(folder), where=str(folder))
    ids: list[int] = tokenizer("").input_ids
    return bool(ids) and ids[-1] in (tokenizer.sep_token_id, tokenizer.eos_token_id)
