"""A Space on the hub: a Gradio app in which anybody tries a pushed model.

The app needs transformers only. It names the model's commit, so that a later push does not change
what people see.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from captune.hub import (
    PushedRepo,
    RepoFile,
    find_model,
    needs_own_code,
    open_repo,
    push_files,
    read_json_file,
)
from captune.publishing.examples import EXAMPLE_PATHS
from captune.publishing.push import PushedRun

_MAX_BEAMS, _MAX_LENGTH = 8, 100
_APP = '''"""Caption images with MODEL; written by `captune push --space`."""

import os

# Otherwise gradio reports each start to its makers.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

MODEL = {model}
REVISION = {revision}

processor = AutoProcessor.from_pretrained(MODEL, revision=REVISION{remote})
model = AutoModelForImageTextToText.from_pretrained(MODEL, revision=REVISION{remote}).eval()


def caption(image, num_beams, max_new_tokens):
    """Return the caption of a PIL image."""
    if image is None:
        raise gr.Error("Choose an image first.")
    # What is transparent is white, as in training.
    canvas = Image.new("RGBA", image.size, "white")
    canvas.alpha_composite(image.convert("RGBA"))
    inputs = processor.image_processor(canvas.convert("RGB"), return_tensors="pt")
    with torch.inference_mode():
        tokens = model.generate(
            **inputs, num_beams=int(num_beams), max_new_tokens=int(max_new_tokens)
        )
    return processor.decode(tokens[0], skip_special_tokens=True)


demo = gr.Interface(
    fn=caption,
    inputs=[
        gr.Image(type="pil", image_mode="RGBA", label="Image"),
        gr.Slider(1, {max_beams}, value={beams}, step=1, label="Beams"),
        gr.Slider(5, {max_length}, value={length}, step=1, label="Maximum length in word pieces"),
    ],
    outputs=gr.Textbox(label="Caption"),
    title={title},
    description="An image captioning model trained with captune.",
    examples={examples},
    cache_examples=False,
    flagging_mode="never",
)

if __name__ == "__main__":
    demo.launch()
'''
_PACKAGES = ("torch", "transformers>=5.20,<6", "pillow", "safetensors")


def push_space(
    model: PushedRun, folder: Path, *, repo: str, private: bool = False
) -> tuple[PushedRepo, str]:
    """Push the app of a Space in one commit, and return the Space and the commit.

    Args:
        model: The pushed model that the app loads.
        folder: The model's folder, or that of its run.
        repo: `owner/name` of the Space, or `name` for your own account.
        private: Whether the Space must be private.

    Raises:
        ModelError: The folder holds no model.
        OutputError: The push failed; nothing local has changed.
    """
    app = _write_app(model, Path(find_model(str(folder))))
    opened = open_repo(repo, private=private, kind="space")
    files = [
        RepoFile("app.py", app.encode()),
        RepoFile("requirements.txt", "".join(f"{name}\n" for name in _PACKAGES).encode()),
        RepoFile("README.md", _write_readme(model, opened).encode()),
        *(RepoFile(example.path, example.jpeg) for example in model.examples),
    ]
    commit = push_files(opened, files, message="Push a Space with captune", remove=EXAMPLE_PATHS)
    return opened, commit


def _write_app(model: PushedRun, place: Path) -> str:
    own = _read_defaults(place)
    beams = min(_MAX_BEAMS, own.get("num_beams") or 3)
    length = min(_MAX_LENGTH, max(5, own.get("max_new_tokens") or 30))
    rows = [[example.path, beams, length] for example in model.examples]
    return _APP.format(
        model=json.dumps(model.repo.repo),
        revision=json.dumps(model.commit),
        remote=", trust_remote_code=True" if needs_own_code(place) else "",
        max_beams=_MAX_BEAMS,
        max_length=_MAX_LENGTH,
        beams=beams,
        length=length,
        title=json.dumps(model.repo.repo.rpartition("/")[2], ensure_ascii=False),
        examples=rows or None,
    )


def _read_defaults(place: Path) -> dict[str, Any]:
    if not (place / "generation_config.json").is_file():
        return {}
    content = read_json_file(str(place), "generation_config.json", where=str(place))
    return content if isinstance(content, dict) else {}


def _write_readme(model: PushedRun, space: PushedRepo) -> str:
    head = {
        "title": space.repo.rpartition("/")[2],
        "emoji": "🖼️",
        "colorFrom": "green",
        "colorTo": "gray",
        "sdk": "gradio",
        # With which the app was tried; without it, a Space installs the newest one.
        "sdk_version": "6.31.0",
        # Python 3.10, a Space's own choice, gets an older transformers than the model may need.
        "python_version": "3.11",
        "app_file": "app.py",
        "pinned": False,
        "models": [model.repo.repo],
        "tags": ["image-captioning", "captune"],
    }
    text = yaml.safe_dump(head, sort_keys=False, allow_unicode=True)
    secret = (
        "\nThe model is private: add a token that may read it as the secret `HF_TOKEN` in the"
        " settings of this Space.\n"
        if model.repo.is_private
        else ""
    )
    return f"---\n{text}---\n\nCaptions by [{model.repo.repo}]({model.repo.url}).\n{secret}"
