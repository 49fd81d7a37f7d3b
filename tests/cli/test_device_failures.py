"""Failures of a GPU or its driver are recognised by their text, and lead to what helps."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from captune.cli import main
from captune.cli.doctor import examine_devices
from captune.hardware import find_device_fix, is_out_of_memory

FAILURES = {
    "CUDA error: no kernel image is available for execution on the device\nCUDA kernel errors"
    " might be asynchronously reported": "too old or too new",
    "HIP error: invalid device function": "too old or too new",
    "The NVIDIA driver on your system is too old (found version 11040).": "update the GPU's driver",
    "CUDA driver version is insufficient for CUDA runtime version": "update the GPU's driver",
    "No CUDA GPUs are available": "CUDA_VISIBLE_DEVICES",
    "CUDA error: CUDA-capable device(s) is/are busy or unavailable": "another program",
    "CUDA unknown error - this may be due to an incorrectly set up environment": "restart",
    "CUDA error: uncorrectable ECC error encountered": "dmesg",
}


@pytest.mark.parametrize("text", FAILURES)
def test_a_failing_gpu_exits_2_with_what_helps(
    add_command: Callable[..., None], capsys: pytest.CaptureFixture[str], text: str
) -> None:
    def fail() -> None:
        raise RuntimeError(text)

    add_command(fail)
    with pytest.raises(SystemExit) as caught:
        main(["x"])
    assert caught.value.code == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: the device failed: {text.partition(chr(10))[0]}")
    assert FAILURES[text] in printed
    assert not is_out_of_memory(RuntimeError(text))


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("the initialization of the tokenizer failed"),
        ValueError("No CUDA GPUs are available"),
    ],
)
def test_other_errors_are_not_blamed_on_the_device(error: Exception) -> None:
    assert find_device_fix(error) is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a torch that cannot use a GPU")
def test_a_gpu_that_torch_lists_but_cannot_use_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (6, 0))
    findings = [f for f in examine_devices() if f.name == "device"]
    assert [f.state for f in findings] == ["bad", "ok"]
    assert findings[0].detail.startswith("cuda does not compute (")
