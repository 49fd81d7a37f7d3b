"""Checks of captune on an accelerator, in at most eight minutes: one line per check.

    python benchmarks/gpu_check.py [--device cuda] [--quick] [--json FILE] [--only parity ...]

Each line has PASS, FAIL or SKIP, the check's name, and its figures or the reason. A failed check
never ends the script. The exit code is 1 if a check failed. `--device cpu` runs anywhere and skips
checks that need an accelerator. Weights are random; nothing is downloaded.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

# Read when CUDA starts: without it cuBLAS sums in any order, and runs are not equal bit for bit.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from gpu_checks.attention import check_attention
from gpu_checks.compiling import check_compiling
from gpu_checks.decoding import check_decoding
from gpu_checks.memory import check_memory
from gpu_checks.parity import check_large_parity, check_parity
from gpu_checks.pixels import check_pixels
from gpu_checks.processes import check_processes
from gpu_checks.replaying import check_replaying
from gpu_checks.resuming import check_resuming
from gpu_checks.setting import Line, Setting, first_line
from gpu_checks.speed import check_speed
from gpu_checks.training import check_training, check_waits

from captune.hardware import Hardware, choose_hardware

Check = Callable[[Setting], Iterator[Line]]

LONGEST = 150.0
"""Seconds after which a check is stopped, so that one that hangs leaves time for the others."""

# The most informative checks run early, those that could leave the device in a bad state last.
CHECKS: dict[str, Check] = {
    "attention": check_attention,
    "parity": check_parity,
    "pixels": check_pixels,
    "training": check_training,
    "resume": check_resuming,
    "waits": check_waits,
    "speed": check_speed,
    "replay": check_replaying,
    "decoding": check_decoding,
    "large": check_large_parity,
    "compile": check_compiling,
    "processes": check_processes,
    "memory": check_memory,
}


def main() -> None:
    options = parse_options()
    started = time.monotonic()
    lines: list[Line] = []
    hardware = number_device(choose_hardware(options.device, "fp32", section=""))
    show(Line("device", "PASS", describe(str(hardware.device), hardware.name)), lines)
    with tempfile.TemporaryDirectory(prefix="captune-gpu-check-") as folder:
        for name, check in CHECKS.items():
            if options.only and name not in options.only:
                continue
            left = options.seconds - (time.monotonic() - started)
            setting = Setting(hardware, options.quick, Path(folder, name))
            setting.folder.mkdir()
            for line in run_check(name, check, setting, seconds=left):
                show(line, lines)
    failed = [line.name for line in lines if line.status == "FAIL"]
    seconds = time.monotonic() - started
    print(f"{len(lines)} checks, {len(failed)} failed, {seconds:.0f} s", flush=True)
    if options.json:
        found = {"seconds": round(seconds, 1), "checks": [asdict(line) for line in lines]}
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    sys.exit(1 if failed else 0)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, few steps")
    parser.add_argument("--json", type=Path, help="also write the lines to this file")
    parser.add_argument("--only", nargs="+", choices=tuple(CHECKS), default=())
    parser.add_argument(
        "--seconds", type=float, default=450, help="start no check after this many seconds"
    )
    options: argparse.Namespace = parser.parse_args()
    return options


def run_check(name: str, check: Check, setting: Setting, *, seconds: float) -> Iterator[Line]:
    """Yield the lines of a check, and another one if it fails, hangs or starts too late."""
    if seconds <= 0:
        yield Line(name, "SKIP", "the time is used up")
        return
    try:
        with ends_after(min(seconds, LONGEST)), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield from check(setting)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a check may fail in any way
        traceback.print_exc()
        yield Line(name, "FAIL", f"{type(error).__name__}: {first_line(error)}")
    finally:
        setting.let_go()


@contextlib.contextmanager
def ends_after(seconds: float) -> Iterator[None]:
    """Raise in the block after this many seconds, if the system supports it."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def end(*_: object) -> None:
        raise TimeoutError(f"took more than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def show(line: Line, lines: list[Line]) -> None:
    lines.append(line)
    print(f"{line.status}  {line.name:40}  {line.figure}", flush=True)


def number_device(hardware: Hardware) -> Hardware:
    """Return the same hardware with a device number, which some of torch's functions need."""
    device = hardware.device
    if device.type not in ("cuda", "xpu") or ":" in str(device):
        return hardware
    return replace(hardware, device=torch.device(device.type, 0))


def describe(device: str, name: str) -> str:
    builds = [f"{k} {v}" for k in ("cuda", "hip", "xpu") if (v := getattr(torch.version, k, None))]
    return f"{device}, {name}, torch {torch.__version__}, {', '.join(builds) or 'no GPU build'}"


if __name__ == "__main__":
    main()
