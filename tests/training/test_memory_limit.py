"""Training below a limit on the memory of the process, which oneDNN reports in its own words."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="memory is limited as on Linux"),
]

LIMITED = """
import re, resource, sys
from pathlib import Path
from captune.data import make_shapes
from captune.errors import ModelError
from captune.models import build_captioner
from captune.recipe import Recipe
from captune.training import train

folder, size = Path(sys.argv[1]), int(sys.argv[2])
recipe = Recipe.model_validate({
    "name": "limited",
    "data": {"path": "shapes:64", "num_workers": 0},
    "model": {"size": "blip-tiny", "image_size": 224},
    "train": {"max_steps": 2, "micro_batch_size": size, "global_batch_size": 16, "device": "cpu",
              "precision": "fp32", "trackers": [], "log_every": 1, "validate_images": 2},
})
records = list(make_shapes(36, seed=3, image_size=64))
captioner = build_captioner(recipe.model, [c for r in records for c in r.captions], seed=1)
used = 1024 * int(re.search(r"VmData:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
limit = used + (250 << 20)
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
try:
    train(captioner, (records[:32], records[32:]), recipe=recipe, run_folder=folder, say=print)
except ModelError as error:
    print(error.what, "|", error.fix)
"""


def train_limited(folder: Path, micro_batch_size: int) -> str:
    command = [sys.executable, "-c", LIMITED, str(folder), str(micro_batch_size)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_training_that_fails_below_a_limit_names_the_setting_that_helps(tmp_path: Path) -> None:
    printed = train_limited(tmp_path / "large", 16)
    assert "out of memory: micro batches halved" in printed
    # The heap decides: later steps, and the validation, may find memory again.
    if "one image with its captions does not fit into memory" in printed:
        assert "start with a smaller train.micro_batch_size" in printed
    smaller = train_limited(tmp_path / "small", 2)
    assert "does not fit into memory" not in smaller
    rows = (tmp_path / "small" / "log.jsonl").read_text().splitlines()
    assert sum("loss" in json.loads(row) for row in rows) >= 2
