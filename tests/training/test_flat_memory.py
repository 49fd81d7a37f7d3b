"""The memory of a training does not grow with its steps."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.runs import SCRIPTS, script_environment
from support.soak import count, soak

STEPS = count(300, full=3000)
# From here on, nothing new is allocated: there have been two validations and checkpoints.
FIRST = count(150, full=500)


@soak
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(sys.platform == "win32", reason="Windows reports no peak memory")
@pytest.mark.parametrize("size", ["vit-gpt2-tiny", "mobilenet-gpt2-tiny"])
def test_the_peak_memory_does_not_grow_with_the_steps(size, tmp_path: Path, make_recipe) -> None:
    # Everything that a long run does again and again: epochs, views, validations, checkpoints.
    recipe = make_recipe(
        model__size=size,
        model__image_size=32,
        train__max_steps=STEPS,
        train__micro_batch_size=1,
        train__global_batch_size=2,
        train__word_dropout=0.1,
        train__ema_decay=0.9,
        train__log_every=50,
        train__validate_every=75,
        train__save_every=75,
        train__validate_images=2,
    )
    command = [sys.executable, str(SCRIPTS / "loop_script.py"), str(tmp_path), "start"]
    done = subprocess.run(
        [*command, recipe.model_dump_json()],
        env=script_environment(OMP_NUM_THREADS="1"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    peaks = {row["step"]: row["device_memory_gib"] for row in rows if "device_memory_gib" in row}
    assert peaks[STEPS] < 1.02 * peaks[FIRST], peaks
