"""captune's side of the benchmark runs and measures what its table shows."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from support.places import REAL_DATA, ROOT

DATA = REAL_DATA / "metrics"


@pytest.mark.real_data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no captions at {DATA}")
@pytest.mark.parametrize("images", [100, 1100])
def test_captunes_side_measures_every_step(images: int) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "score.py"), "--side", "captune"]
    command += ["--images", str(images)]
    for name in ("references", "predictions"):
        command += [f"--{name}", str(DATA / f"fakecap_{name}.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    measured = json.loads(done.stdout)
    assert measured["images"] == images
    assert all(measured[step] > 0 for step in ("tokenize", "count", "bleu", "rouge_l", "cider"))
    assert measured["peak_mb"] > 20
    assert 0 <= measured["growth_mb"] < measured["peak_mb"]
    assert 0 < measured["values"]["bleu_4"] < 1
