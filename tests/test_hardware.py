"""The device and precision that the machine has; the tests' own machine is a CPU."""

from __future__ import annotations

import pytest
import torch

from captune.errors import RecipeError
from captune.hardware import Hardware, _cpu_flags, choose_hardware


def test_a_device_that_is_not_here_names_those_that_are() -> None:
    with pytest.raises(RecipeError) as caught:
        choose_hardware("cuda:99" if not torch.cuda.is_available() else "xpu")
    assert "is not available here" in caught.value.what
    assert caught.value.where == "train.device"
    assert "cpu" in caught.value.fix


@pytest.mark.parametrize("name", ["tpu", "graphics", "cuda:x", ""])
def test_a_device_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match="is not available here"):
        choose_hardware(name)


def test_fp16_on_a_cpu_is_refused() -> None:
    with pytest.raises(RecipeError) as caught:
        choose_hardware("cpu", "fp16")
    assert caught.value.what == "precision fp16 does not work on cpu"
    assert caught.value.where == "train.precision"


def test_auto_precision_follows_the_processor() -> None:
    has_bf16 = bool({"avx512_bf16", "amx_bf16"} & _cpu_flags())
    assert choose_hardware("cpu").precision == ("bf16" if has_bf16 else "fp32")


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_autocast_computes_in_the_chosen_precision(precision: str, dtype: torch.dtype) -> None:
    hardware = choose_hardware("cpu", precision)
    a = torch.ones(2, 2)
    with hardware.autocast():
        assert (a @ a).dtype == dtype


def test_the_description_names_device_chip_memory_and_precision() -> None:
    hardware = Hardware(torch.device("cpu"), "bf16", "2 cores", 24 * 2**30)
    assert hardware.describe() == "cpu (2 cores, 24 GiB), bf16"


def test_the_cpu_has_memory_and_cores() -> None:
    hardware = choose_hardware("cpu", "fp32")
    assert hardware.memory_bytes > 2**28
    assert hardware.name.endswith("cores")


def test_the_memory_of_the_process_is_told_on_cpu() -> None:
    before = choose_hardware("cpu").usage()["device_memory_gib"]
    block = torch.ones(2**27)  # half a GiB
    after = choose_hardware("cpu").usage()["device_memory_gib"]
    assert 0 < before < 24
    assert block.numel() == 2**27
    assert after >= max(before, 0.5)
