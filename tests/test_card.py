"""Model cards: the task tag fits the model, and the code in the card captions a photograph."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import captune
from captune.hub import PLACEHOLDER, choose_task, describe_use
from support.models.tiny_models import build

TASKS = {
    "blip-tiny": "image-text-to-text",
    "git-tiny": "image-text-to-text",
    "vit-gpt2-tiny": "image-to-text",
    "vit-bert-tiny": "image-to-text",
    "mobilenet-gpt2-tiny": "image-to-text",
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name in TASKS:
        build(name, spread=2.5).save(folder / name)
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "photo.jpg")
    return folder


@pytest.mark.parametrize(("name", "task"), TASKS.items())
def test_the_tag_is_a_task_that_works(models: Path, name: str, task: str) -> None:
    assert choose_task(models / name) == task


def test_git_with_a_tokenizer_that_ends_prompts_gets_the_other_tag(
    models: Path, tmp_path: Path
) -> None:
    git = build("git-tiny")
    # As published: BERT's tokenizer puts [CLS] and [SEP] around every text.
    git.tokenizer = build("blip-tiny").tokenizer
    git.save(tmp_path)
    assert choose_task(tmp_path) == "image-to-text"


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_the_code_in_the_card_prints_the_same_caption_with_and_without_captune(
    models: Path, name: str, tmp_path: Path
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", describe_use(models / name), re.DOTALL)
    assert len(blocks) == 2
    assert "import captune" not in blocks[1]
    printed = []
    for block in blocks:
        script = tmp_path / "card.py"
        # By default, plain transformers computes in float32 and generates at most 20 tokens,
        # greedily.
        code = block.replace(f'"{PLACEHOLDER}"', repr(str(models / name)))
        code = code.replace(
            ').caption("photo.jpg")', ', precision="fp32").caption("photo.jpg", num_beams=1)'
        )
        script.write_text(code, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, str(script)],
            cwd=models,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout.strip())
    # The shorter one is truncated by its limit of new tokens.
    shared = min(map(len, printed))
    assert shared > 10
    assert printed[0][:shared] == printed[1][:shared]
    assert captune.load(models / name, device="cpu").caption(models / "photo.jpg")
