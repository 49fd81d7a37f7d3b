"""A training under a real limit of memory does the same steps in smaller micro batches."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="memory is limited as on Linux"),
]

LIMITED = """
import json, re, resource, sys
from pathlib import Path
from captune.data import make_shapes
from captune.models import build_captioner
from captune.recipe import Recipe
from captune.training import train

folder, spare = Path(sys.argv[1]), int(sys.argv[2])
recipe = Recipe.model_validate({
    "name": "limited",
    "data": {"path": "shapes:64", "num_workers": 0},
    "model": {"size": "blip-tiny", "image_size": 224},
    "train": {"max_steps": 2, "micro_batch_size": 16, "global_batch_size": 16, "device": "cpu",
              "precision": "fp32", "trackers": [], "log_every": 1, "validate_images": 2},
})
records = list(make_shapes(36, seed=3, image_size=64))
captioner = build_captioner(recipe.model, [c for r in records for c in r.captions], seed=1)
used = 1024 * int(re.search(r"VmData:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
if spare:
    resource.setrlimit(resource.RLIMIT_DATA, (used + spare, used + spare))
lines = []
train(captioner, (records[:32], records[32:]), recipe=recipe, run_folder=folder, say=lines.append)
print(json.dumps(lines))
"""


def train_limited(folder: Path, spare: int) -> tuple[list[str], list[float]]:
    """Return the messages and losses of a training with `spare` bytes beside its model."""
    command = [sys.executable, "-c", LIMITED, str(folder), str(spare)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    lines = json.loads(done.stdout.splitlines()[-1])
    return lines, [row["loss"] for row in rows if "loss" in row]


def test_a_training_that_needs_more_memory_than_it_may_use_halves_its_micro_batches(
    tmp_path: Path,
) -> None:
    free, expected = train_limited(tmp_path / "free", 0)
    assert not any("out of memory" in line for line in free)
    lines, losses = train_limited(tmp_path / "limited", 250 << 20)
    assert any("out of memory: micro batches halved" in line for line in lines)
    assert losses == pytest.approx(expected, rel=1e-4)
