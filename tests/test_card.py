"""Model cards: the task tag fits the model, and the code in the card captions a photograph."""

from __future__ import annotations

import json
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


def blocks_of(folder: Path) -> tuple[str, str]:
    """Return the code of a model's card with captune, and that without, which decode alike."""
    blocks = re.findall(r"```python\n(.*?)```", describe_use(folder), re.DOTALL)
    assert len(blocks) == 2
    # By default, plain transformers computes in float32 and generates at most 20 tokens, greedily.
    greedy = ', precision="fp32").caption("photo.jpg", num_beams=1)'
    ours, theirs = (
        block.replace(f'"{PLACEHOLDER}"', repr(str(folder))).replace(
            ').caption("photo.jpg")', greedy
        )
        for block in blocks
    )
    return ours, theirs


@pytest.fixture(scope="module")
def printed(models: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What the code of each card prints: with captune, and before captune is imported."""
    blocks = {name: blocks_of(models / name) for name in TASKS}
    script = tmp_path_factory.mktemp("card") / "card.py"
    script.write_text(
        "import contextlib, io, json, sys\n"
        f"blocks, found = {blocks!r}, {{name: ['', ''] for name in {list(blocks)!r}}}\n"
        "for place in (1, 0):\n"
        "    for name in blocks:\n"
        "        with contextlib.redirect_stdout(io.StringIO()) as out:\n"
        "            exec(compile(blocks[name][place], name, 'exec'), {'__name__': '__main__'})\n"
        "        found[name][place] = out.getvalue().strip()\n"
        "    assert ('captune' in sys.modules) is (place == 0)\n"
        "print(json.dumps(found))\n",
        encoding="utf-8",
    )
    command = [sys.executable, str(script)]
    done = subprocess.run(command, cwd=models, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_the_code_in_the_card_prints_the_same_caption_with_and_without_captune(
    models: Path, name: str, printed: dict[str, list[str]]
) -> None:
    ours, theirs = printed[name]
    # The shorter one is truncated by its limit of new tokens.
    shared = min(len(ours), len(theirs))
    assert shared > 10
    assert ours[:shared] == theirs[:shared]
    assert captune.load(models / name, device="cpu").caption(models / "photo.jpg")
