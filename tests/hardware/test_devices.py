"""The choice of device and precision; the tests themselves run on a CPU."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from captune.errors import RecipeError
from captune.hardware import (
    Hardware,
    choose_hardware,
    device_random_states,
    is_out_of_memory,
    refuse_numbered_device,
    rounding_products,
    set_device_random_states,
)
from captune.hardware.devices import _cpu_flags

CUDA = torch.device("cuda", 0)


def test_an_unavailable_device_is_refused_and_the_available_ones_are_named() -> None:
    with pytest.raises(RecipeError) as caught:
        choose_hardware("cuda:99" if not torch.cuda.is_available() else "xpu")
    assert "is not available here" in caught.value.what
    assert caught.value.where == "train.device"
    assert "cpu" in caught.value.fix


@pytest.mark.parametrize("name", ["tpu", "graphics", "cuda:x", ""])
def test_an_invalid_device_name_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match="is not available here"):
        choose_hardware(name)


@pytest.mark.parametrize("name", ["float16", "bf32", ""])
def test_a_precision_that_does_not_exist_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match=f"there is no precision '{name}'") as caught:
        choose_hardware("cpu", name, section="")
    assert caught.value.where == "precision"
    assert caught.value.fix == "use auto, fp32, bf16, fp16"


def test_fp16_on_a_cpu_is_refused() -> None:
    with pytest.raises(RecipeError) as caught:
        choose_hardware("cpu", "fp16")
    assert caught.value.what == "precision fp16 is not supported on cpu"
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


def test_the_memory_of_the_process_is_reported_on_cpu() -> None:
    before = choose_hardware("cpu").usage()["device_memory_gib"]
    block = torch.ones(2**27)  # half a GiB
    after = choose_hardware("cpu").usage()["device_memory_gib"]
    assert 0 < before < 24
    assert block.numel() == 2**27
    assert after >= max(before, 0.5)


class NVMLError(Exception):
    """Like the error of NVIDIA's library, which is not a RuntimeError."""


def fail(*_: object) -> None:
    raise NVMLError("Driver Not Loaded")


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Two pretend GPUs that torch can describe but that cannot compute."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla T4")
    monkeypatch.setattr(torch.cuda, "get_device_properties", fail)
    return monkeypatch


def test_figures_of_a_failing_driver_are_omitted_from_the_log(
    two_gpus: pytest.MonkeyPatch,
) -> None:
    two_gpus.setattr(torch.cuda, "max_memory_allocated", lambda _: 2**30)
    two_gpus.setattr(torch.cuda, "utilization", fail)
    hardware = Hardware(CUDA, "fp32", "H100", 0)
    assert hardware.usage() == {"device_memory_gib": 1.0}
    two_gpus.setattr(torch.cuda, "max_memory_allocated", fail)
    assert hardware.usage() == {}
    assert hardware.peak_memory() == 0


def test_a_driver_without_a_name_and_memory_size_does_not_stop_a_run(
    two_gpus: pytest.MonkeyPatch,
) -> None:
    two_gpus.setattr(torch.cuda, "get_device_name", fail)
    hardware = choose_hardware("cuda", "fp32")
    assert hardware.describe() == "cuda (name unknown, 0 GiB), fp32"


@pytest.mark.parametrize(
    ("uuid", "name"),
    [
        ("6f2c0d9e-0000-0000-0000-0123456789ab", "6f2c0d9e-0000-0000-0000-0123456789ab"),
        # Otherwise two GPUs would be taken for one, and two processes refused.
        ("00000000-0000-0000-0000-000000000000", ""),
    ],
)
def test_a_name_of_zeros_identifies_no_chip(
    two_gpus: pytest.MonkeyPatch, uuid: str, name: str
) -> None:
    two_gpus.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid=uuid))
    assert Hardware(CUDA, "fp32", "MI250", 0).identify() == name


def test_a_launch_for_the_cpu_uses_no_gpu(two_gpus: pytest.MonkeyPatch) -> None:
    two_gpus.setenv("ACCELERATE_USE_CPU", "true")
    assert choose_hardware().device.type == "cpu"
    assert choose_hardware("cuda").device.type == "cuda"
    two_gpus.setenv("ACCELERATE_USE_CPU", "false")
    assert choose_hardware().device.type == "cuda"


@pytest.mark.parametrize("name", ["cuda:2", "cuda:7"])
def test_a_device_number_that_is_too_large_is_refused_and_the_valid_ones_are_named(
    name: str, two_gpus: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RecipeError) as caught:
        choose_hardware(name)
    assert caught.value.what == (
        f"device {name!r} is not available here: 2 cuda devices are visible"
    )
    assert caught.value.where == "train.device"
    assert caught.value.fix.startswith("use auto, cuda or one of: cuda:0, cuda:1")


def test_one_gpu_is_counted_in_the_singular(two_gpus: pytest.MonkeyPatch) -> None:
    two_gpus.setattr(torch.cuda, "device_count", lambda: 1)
    assert str(choose_hardware("cuda:0", "fp32").device) == "cuda:0"
    with pytest.raises(RecipeError, match=r"1 cuda device is visible"):
        choose_hardware("cuda:1")


def test_the_cpu_has_no_second_device() -> None:
    with pytest.raises(RecipeError, match=r"'cpu:1' is not available here: 1 cpu device is"):
        choose_hardware("cpu:1")


@pytest.mark.parametrize("name", ["cuda:0", "cuda:1", "xpu:3"])
def test_a_numbered_device_is_refused_if_several_processes_would_share_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_numbered_device(name)
    monkeypatch.setenv("WORLD_SIZE", "1")
    refuse_numbered_device(name)
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(RecipeError) as caught:
        refuse_numbered_device(name)
    assert caught.value.what == f"device {name!r} would put all 4 processes on one device"
    assert caught.value.where == "train.device"
    refuse_numbered_device(name.partition(":")[0])
    refuse_numbered_device("auto")


@pytest.mark.parametrize(
    ("capability", "precision"),
    [
        ((9, 0), "bf16"),  # H100
        ((8, 0), "bf16"),  # A100
        ((7, 5), "fp16"),  # T4
        ((7, 0), "fp16"),  # V100
        ((6, 1), "fp32"),  # GTX 1080: 64 times slower in fp16
    ],
)
def test_auto_precision_is_the_fastest_that_the_gpu_supports(
    capability: tuple[int, int], precision: str, two_gpus: pytest.MonkeyPatch
) -> None:
    two_gpus.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert choose_hardware("cuda").precision == precision


OUT_OF_MEMORY = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    MemoryError("Unable to allocate 3.2 GiB for an array"),
    *map(
        RuntimeError,
        (
            "MPS backend out of memory (MPS allocated: 17.8 GB, other allocations: 300 MB, max"
            " allowed: 18.1 GB). Tried to allocate 1.2 GB on private pool.",
            "Invalid buffer size: 24.00 GiB",
            "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
            "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
            "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
            "CUDA error: out of memory\nCUDA kernel errors might be reported later",
            "HIP out of memory. Tried to allocate 20.00 MiB",
            "HIP error: out of memory",
            "CUDA error: HIPBLAS_STATUS_ALLOC_FAILED when calling `hipblasCreate(handle)`",
            "miopenStatusAllocFailed",
            "XPU out of memory. Tried to allocate 4.00 GiB. GPU 0 has a total capacity of 15 GiB",
            "Native API failed. Native API returns: -5 (PI_ERROR_OUT_OF_RESOURCES)",
            "level_zero backend failed with error: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)",
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate"
            " memory: you tried to allocate 800000000000 bytes. Error code 12 (Cannot allocate"
            " memory)",
            "[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: you"
            " tried to allocate 800000000000 bytes.",
            "bad allocation",
            "hipErrorOutOfMemory",
            "Failed to allocate memory for requested buffer of size 8000000000",
        ),
    ),
)


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: str(error)[:40])
def test_out_of_memory_errors_are_recognised_on_every_device(error: Exception) -> None:
    assert is_out_of_memory(error)


def test_the_out_of_memory_error_of_this_machine_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("expected all tensors to be on the same device"),
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling cublasSgemm"),
        ValueError("out of memory"),
        torch.distributed.DistBackendError("NCCL error: Cuda failure 2 'out of memory'"),
    ],
    ids=str,
)
def test_other_errors_are_not_mistaken_for_out_of_memory(error: Exception) -> None:
    assert not is_out_of_memory(error)


@pytest.fixture
def set_states(two_gpus: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """The random states written to the two pretend GPUs."""
    states: list[tuple[int, str]] = []
    two_gpus.setattr(torch.cuda, "get_rng_state", lambda device: torch.tensor([10 + device.index]))
    two_gpus.setattr(
        torch.cuda,
        "set_rng_state",
        lambda state, device: states.append((state.item(), str(device))),
    )
    return states


def test_only_the_random_state_of_the_device_in_use_is_saved(
    set_states: list[tuple[int, str]],
) -> None:
    saved = device_random_states(torch.device("cuda", 1))
    assert {kind: [s.item() for s in states] for kind, states in saved.items()} == {"cuda": [11]}
    # Fewer GPUs are visible when the run is resumed.
    set_device_random_states(saved, CUDA)
    assert set_states == [(11, "cuda:0")]


@pytest.mark.parametrize(
    ("device", "state"), [("cuda", 20), ("cuda:0", 20), ("cuda:1", 21), ("cuda:5", 20)]
)
def test_a_device_restores_its_own_state_from_the_states_of_all_devices(
    device: str, state: int, set_states: list[tuple[int, str]]
) -> None:
    saved = {"cuda": [torch.tensor([20]), torch.tensor([21])]}
    set_device_random_states(saved, torch.device(device))
    assert set_states == [(state, device)]


def test_random_states_of_another_kind_of_device_are_ignored(
    set_states: list[tuple[int, str]],
) -> None:
    set_device_random_states({"xpu": [torch.tensor([1])]}, CUDA)
    set_device_random_states({"cuda": [torch.tensor([1])]}, torch.device("cpu"))
    set_device_random_states({}, CUDA)
    assert set_states == []
    assert device_random_states(torch.device("cpu")) == {}


@pytest.mark.parametrize("name", ["cuda:1", "cuda:0", "xpu:2"])
def test_waiting_is_for_the_device_that_computes(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = torch.device(name)
    waited: list[torch.device] = []
    monkeypatch.setattr(getattr(torch, device.type), "synchronize", waited.append)
    Hardware(device, "fp32", "a card", 0).synchronize()
    assert waited == [device]


@pytest.mark.parametrize(
    ("kind", "precision", "expected"),
    [
        ("cuda", "bf16", "high"),
        ("cuda", "fp16", "high"),
        ("cuda", "fp32", "highest"),
        ("cpu", "bf16", "highest"),
    ],
)
def test_only_half_precision_on_cuda_rounds_the_rest_to_tf32_and_only_in_the_block(
    kind: str, precision: str, expected: str
) -> None:
    hardware = Hardware(torch.device(kind), precision, "chip", 0)
    before = torch.get_float32_matmul_precision()
    assert before == "highest"
    with rounding_products(hardware):
        assert torch.get_float32_matmul_precision() == expected
    assert torch.get_float32_matmul_precision() == before
