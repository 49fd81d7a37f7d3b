"""Threads that wait for each other leave the cores to other programs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from captune.hardware import let_waiting_threads_sleep

SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
PROGRAM = """
from captune.cli import main
try:
    main(["--version"])
except SystemExit:
    import torch
    torch.ones(1000, 1000) @ torch.ones(1000, 1000)
"""


@pytest.mark.slow
@pytest.mark.skipif("sys.platform != 'linux'", reason="asks GNU's OpenMP what it uses")
def test_the_command_line_sets_the_policy_before_torch_reads_it():
    env = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**env, "OMP_DISPLAY_ENV": "true"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in run.stderr


@pytest.mark.parametrize("name", SETTINGS)
def test_a_policy_that_the_user_has_set_is_kept(monkeypatch, name):
    for other in SETTINGS:
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, "1000")
    let_waiting_threads_sleep()
    assert {other: os.environ.get(other) for other in SETTINGS} == {
        other: "1000" if other == name else None for other in SETTINGS
    }
