"""`benchmarks/gpu_check.py` runs on a CPU, and a failed check does not stop it."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def gpu_check(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    return importlib.import_module("gpu_check")


@pytest.fixture
def setting(gpu_check: Any, tmp_path: Path) -> Any:
    hardware = gpu_check.choose_hardware("cpu", "fp32")
    return gpu_check.Setting(hardware, True, tmp_path)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("CUDA error: device-side assert triggered\nmore"), "device-side assert"),
        (AssertionError(), "AssertionError: no reason given"),
        (SystemExit(2), "SystemExit: 2"),
    ],
)
def test_a_check_that_raises_gives_a_line_with_the_reason(
    error: BaseException, reason: str, gpu_check: Any, setting: Any
) -> None:
    def check(_: Any) -> Iterator[Any]:
        yield gpu_check.Line("first", "PASS", "1")
        raise error

    lines = list(gpu_check.run_check("some", check, setting, seconds=60.0))
    assert [(line.name, line.status) for line in lines] == [("first", "PASS"), ("some", "FAIL")]
    assert reason in lines[1].figure
    assert "more" not in lines[1].figure


def test_a_check_that_hangs_times_out(gpu_check: Any, setting: Any) -> None:
    def check(_: Any) -> Iterator[Any]:
        while True:
            pass
        yield

    (line,) = gpu_check.run_check("endless", check, setting, seconds=0.2)
    assert (line.status, line.figure) == ("FAIL", "TimeoutError: took more than 0 s")


def test_a_check_after_the_time_is_skipped(gpu_check: Any, setting: Any) -> None:
    (line,) = gpu_check.run_check("late", gpu_check.check_parity, setting, seconds=0.0)
    assert (line.status, line.figure) == ("SKIP", "the time is used up")


def test_results_that_differ_too_much_or_are_not_numbers_fail(gpu_check: Any) -> None:
    parity = importlib.import_module("gpu_checks.parity")

    def found(loss: float, gradient: float) -> Any:
        return parity.Found(loss, torch.tensor([1.0, gradient]), ["a"])

    expected = found(2.0, 1.0)
    for other, precision, status in (
        (found(2.0, 1.0), "fp32", "PASS"),
        (found(2.001, 1.0), "fp32", "FAIL"),
        (found(2.0, 1.01), "fp32", "FAIL"),
        (found(2.0, 1.01), "bf16", "PASS"),
        (found(2.0, 1.0), "bf16", "FAIL"),  # nothing was rounded: not computed in bf16
        (found(float("nan"), 1.0), "bf16", "FAIL"),
        (found(2.0, float("nan")), "fp16", "FAIL"),
    ):
        line = parity.compare("parity", other, expected, precision=precision)
        assert line.status == status, (other, precision, line)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_all_checks_pass_on_a_cpu(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    done = subprocess.run(
        [
            *(sys.executable, str(BENCHMARKS / "gpu_check.py"), "--device", "cpu", "--quick"),
            *("--seconds", "800", "--json", str(report)),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    checks = {c["name"]: c["status"] for c in json.loads(report.read_text())["checks"]}
    assert len(checks) >= 15
    skipped = {name for name, status in checks.items() if status == "SKIP"}
    # What only an accelerator can show.
    large = {"large.blip-large", "large.git-large"}
    replayed = {"replay.speed", "replay.waits", "replay.vision"}
    pinned = {"pixels.pinned", "features.pinned"}
    assert skipped == {"waits.step", "memory", *pinned, *replayed, *large}
    assert {"replay.blip-tiny", "replay.git-tiny", "compile.vit-gpt2-tiny"} < set(checks)
    printed = [
        line.split()[:2] for line in done.stdout.splitlines() if line[:4] in ("PASS", "SKIP")
    ]
    assert [[checks[name], name] for name in checks] == printed
