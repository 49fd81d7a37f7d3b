"""Running out of memory below a limit on the process, in processes of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from captune.hardware import is_out_of_memory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux limits processes like this")

NO_PRIMITIVE = RuntimeError("could not create a primitive")
LIMITED = """
import re, resource
from pathlib import Path
from captune.hardware import choose_hardware, is_out_of_memory
hardware = choose_hardware("cpu")
used = 1024 * int(re.search(r"VmData:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
def limit(megabytes):
    resource.setrlimit(resource.RLIMIT_DATA, (used + megabytes * 2**20,) * 2)
"""


def run_limited(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED + code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_primitive_that_cannot_be_created_without_a_limit_is_no_lack_of_memory() -> None:
    assert not is_out_of_memory(NO_PRIMITIVE)


def test_the_peak_of_a_process_is_without_that_of_the_process_that_started_it() -> None:
    child = "from captune.hardware.process_memory import peak_of_process; print(peak_of_process())"
    parent = (
        "import subprocess, sys\n"
        "large = bytearray(400 * 2**20)\n"
        "large[::4096] = bytes([1]) * len(large[::4096])\n"
        f"subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    )
    done = subprocess.run([sys.executable, "-c", parent], capture_output=True, check=True)
    assert 2**20 < int(done.stdout) < 200 * 2**20


@pytest.mark.slow
@pytest.mark.parametrize(("left", "is_lack"), [(30, True), (2000, False)])
def test_a_primitive_that_cannot_be_created_at_the_limit_is_a_lack_of_memory(
    left: int, is_lack: bool
) -> None:
    code = f"limit({left}); print(is_out_of_memory(RuntimeError('could not create a primitive')))"
    assert run_limited(code) == str(is_lack)


@pytest.mark.slow
def test_another_error_at_the_limit_is_no_lack_of_memory() -> None:
    code = "limit(30); print(is_out_of_memory(RuntimeError('shapes cannot be multiplied')))"
    assert run_limited(code) == "False"


@pytest.mark.slow
def test_the_free_memory_is_at_most_what_the_limit_leaves() -> None:
    assert int(run_limited("limit(300); print(hardware.free_memory())")) <= 300 * 2**20


@pytest.mark.slow
def test_a_real_allocation_beyond_the_limit_is_recognised() -> None:
    code = """
import torch
limit(100)
try:
    torch.empty(2**30, dtype=torch.uint8)
except RuntimeError as error:
    print(is_out_of_memory(error))
"""
    assert run_limited(code) == "True"
