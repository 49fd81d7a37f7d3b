"""The devices of this machine and the precision they compute in, for every vendor in one place."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from captune.errors import RecipeError
from captune.hardware.process_memory import (
    free_on_machine,
    is_at_limit,
    peak_of_process,
    return_free_memory,
)
from captune.storage import read_count, read_flag
from captune.suggest import format_count

_ORDER = ("cuda", "xpu", "mps", "cpu")
VISIBLE_DEVICES = {"cuda": "CUDA_VISIBLE_DEVICES", "xpu": "ZE_AFFINITY_MASK"}
"""Kind of device -> environment variable that chooses the devices visible to a process."""

_CPU_LAUNCH = "ACCELERATE_USE_CPU"
"""Variable by which `accelerate launch --cpu` asks for the CPU."""

_NO_MEMORY = re.compile(
    r"out[ _]of[ _](device_|host_)?memory"  # CUDA, HIP, XPU, MPS, Level Zero, oneDNN
    r"|out_of_resources"  # SYCL's name for a full device
    r"|_status_\w*alloc\w*_failed|statusallocfailed"  # cuBLAS, cuDNN, cuSOLVER, MIOpen
    r"|_status_memory_error"  # rocBLAS
    r"|invalid buffer size"  # MPS: larger than the maximum size of a buffer
    r"|hiperroroutofmemory|cudaerrormemoryallocation"  # names of the runtimes' error codes
    r"|can(no|')t allocate memory|not enough memory"  # CPUs, Windows too
    r"|bad[_ ]alloc(ation)?\b|failed to allocate memory",  # C++: GCC, MSVC, ONNX Runtime
    re.IGNORECASE,
)

_NO_PRIMITIVE = re.compile(r"could not (create|execute) a (primitive|memory)")

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Hardware:
    """A chosen device and precision.

    Attributes:
        device: Where the model runs.
        precision: `fp32`, `bf16` or `fp16`; the last two are autocast over float32 weights.
        name: Name of the chip.
        memory_bytes: Memory of the device in bytes; for `cpu` and `mps`, of the machine.
    """

    device: torch.device
    precision: str
    name: str
    memory_bytes: int

    @property
    def dtype(self) -> torch.dtype:
        """Return the type of products in the chosen precision."""
        return _DTYPES[self.precision]

    def autocast(self) -> AbstractContextManager[object]:
        """Return autocast in the chosen precision; for fp32, a context that does nothing."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def usage(self) -> dict[str, float]:
        """Return the current figures of the device, for logs.

        Returns:
            `device_memory_gib`, the peak memory of tensors so far (on CPU, of the process), and
            `device_utilisation` in percent; figures that the driver does not report are missing.
        """
        usage = {}
        # MPS does not record a maximum.
        is_mps = self.device.type == "mps"
        taken = _ask(torch.mps.current_allocated_memory, 0) if is_mps else self.peak_memory()
        if taken:
            usage["device_memory_gib"] = taken / 2**30
        if self.device.type in ("cuda", "xpu"):
            # For CUDA, this needs NVIDIA's or AMD's management library, which may be missing.
            percent = _ask(lambda: float(_backend(self.device).utilization(self.device)), None)
            if percent is not None:
                usage["device_utilisation"] = percent
        return usage

    def peak_memory(self) -> int:
        """Return the peak memory of tensors, on CPU of the process, in bytes; 0: not reported."""
        kind = self.device.type
        if kind in ("cuda", "xpu"):
            return _ask(lambda: int(_backend(self.device).max_memory_allocated(self.device)), 0)
        return peak_of_process() if kind == "cpu" else 0

    def free_memory(self) -> int | None:
        """Return the bytes that can still be allocated on the device; `None`: not known."""
        kind = self.device.type
        if kind in ("cuda", "xpu"):
            backend = _backend(self.device)
            free = _ask(lambda: int(backend.mem_get_info(self.device)[0]), None)
            if free is None:
                return None
            # torch keeps what its tensors have freed.
            kept = backend.memory_reserved(self.device) - backend.memory_allocated(self.device)
            return free + int(kept)
        if kind == "mps":
            most = _ask(torch.mps.recommended_max_memory, None)
            return None if most is None else most - torch.mps.driver_allocated_memory()
        return free_on_machine()

    def synchronize(self) -> None:
        """Wait until the device has finished all queued work."""
        if self.device.type == "mps":
            torch.mps.synchronize()
        elif self.device.type != "cpu":
            _backend(self.device).synchronize(self.device)

    def identify(self) -> str:
        """Return the driver's unique name of the chip; empty for CPUs and where there is none."""
        if self.device.type not in ("cuda", "xpu"):
            return ""
        properties = _backend(self.device).get_device_properties
        name = _ask(lambda: str(properties(self.device).uuid), "")
        # Some drivers name every chip with zeros.
        return name if name.strip("0-") else ""

    def describe(self) -> str:
        """Return one line for logs: device, chip, memory and precision."""
        return f"{self.device} ({self.name}, {self.memory_bytes / 2**30:.0f} GiB), {self.precision}"


def choose_hardware(
    device: str = "auto", precision: str = "auto", *, section: str = "train."
) -> Hardware:
    """Choose a device, by name or the best available one, and a precision that it supports.

    Args:
        device: `auto` (CUDA, XPU, MPS, CPU in that order, or CPU if accelerate's launcher asks for
            it) or a torch device name.
        precision: `auto`, `fp32`, `bf16` or `fp16`.
        section: Prefix of `device` and `precision` in errors; empty for arguments of a function.

    Raises:
        RecipeError: The device is not available, or the precision does not exist or is not
            supported.
    """
    chosen = _choose_device(device, where=f"{section}device")
    if precision not in ("auto", *_DTYPES):
        raise RecipeError(
            f"there is no precision {precision!r}",
            where=f"{section}precision",
            fix=f"use auto, {', '.join(_DTYPES)}",
        )
    if precision == "auto":
        precision = _fast_precision(chosen)
    if precision == "fp16" and chosen.type in ("cpu", "mps"):
        raise RecipeError(
            f"precision fp16 is not supported on {chosen.type}",
            where=f"{section}precision",
            fix="use auto, fp32 or bf16",
        )
    return Hardware(chosen, precision, _name(chosen), _memory(chosen))


def refuse_numbered_device(name: str) -> None:
    """Stop if several processes would all train on the same device.

    Args:
        name: `train.device`.

    Raises:
        RecipeError: A launcher started several processes and the name contains a number.
    """
    kind, colon, number = name.partition(":")
    processes = read_count("WORLD_SIZE", 1)
    if not colon or kind == "cpu" or processes == 1:
        return
    visible = (
        f"; or start one process, with {VISIBLE_DEVICES[kind]}={number}"
        if kind in VISIBLE_DEVICES
        else ""
    )
    raise RecipeError(
        f"device {name!r} would put all {processes} processes on one device",
        where="train.device",
        fix=f"use {kind}, which gives each process its own device{visible}",
    )


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Return a context without autocast; not every device has autocast to turn off."""
    if not torch.is_autocast_enabled(device.type):
        return contextlib.nullcontext()
    return torch.autocast(device.type, enabled=False)


@contextlib.contextmanager
def rounding_products(hardware: Hardware) -> Iterator[None]:
    """Let float32 products of a half-precision run round their inputs to TF32 in the block.

    Outside autocast few products are left, and CUDA's tensor cores compute them eight times as
    fast. float32 as an explicit choice stays exact.
    """
    if hardware.precision == "fp32" or hardware.device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def available_kinds() -> list[str]:
    """Return the kinds of device that torch can use here; `auto` chooses the first."""
    return [kind for kind in _ORDER if _is_available(kind)]


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether a device or the machine ran out of memory.

    torch has a class for this, but the libraries below it and MPS report it only in the message. A
    failed collective does not count, whatever its message: its group cannot be used again.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if not isinstance(error, RuntimeError) or isinstance(error, _collective_errors()):
        return False
    # oneDNN reports both a lack of memory and a missing kernel like this.
    is_of_onednn = _NO_PRIMITIVE.match(str(error)) is not None
    return _NO_MEMORY.search(str(error)) is not None or (is_of_onednn and is_at_limit())


def free_cached_memory(device: torch.device) -> None:
    """Free the memory that torch or, on Linux CPUs, the C library has reserved but does not use."""
    if device.type != "cpu":
        _backend(device).empty_cache()
    else:
        return_free_memory()


def device_random_states(device: torch.device) -> dict[str, list[torch.Tensor]]:
    """Return the random state of one device, by its kind; empty for the CPU.

    The run draws no numbers on other devices, which may be missing when it is resumed.
    """
    if device.type == "cpu":
        return {}
    if device.type == "mps":
        return {"mps": [torch.mps.get_rng_state()]}
    return {device.type: [_backend(device).get_rng_state(device)]}


def set_device_random_states(
    states: Mapping[str, Sequence[torch.Tensor]], device: torch.device
) -> None:
    """Restore the states of `device_random_states` if they belong to this kind of device.

    Args:
        states: Kind -> states; checkpoints of captune 0.1 have one state per visible device.
        device: The device to restore; of several states it gets its own, or else the first.
    """
    saved = states.get(device.type)
    if not saved:
        return
    number = _index(device)
    own = saved[number] if number < len(saved) else saved[0]
    if device.type == "mps":
        torch.mps.set_rng_state(own)
    elif device.type != "cpu":
        _backend(device).set_rng_state(own, device)


def _backend(device: torch.device) -> Any:
    return getattr(torch, device.type)


def _index(device: torch.device) -> int:
    """Return the number of the device; without one, that of the current device."""
    number = str(device).partition(":")[2]
    if number:
        return int(number)
    return int(_backend(device).current_device()) if device.type in ("cuda", "xpu") else 0


def _ask(question: Callable[[], Answer], default: Answer) -> Answer:
    """Return the answer of a driver, or the default if it fails.

    The libraries of NVIDIA (`NVMLError`), AMD and Intel raise their own classes, whose only common
    base is Exception, and a missing figure in a log must not stop a training run.
    """
    answer = default
    with contextlib.suppress(Exception):
        answer = question()
    return answer


def _collective_errors() -> tuple[type[BaseException], ...]:
    return (dist.DistError,) if dist.is_available() else ()


def _choose_device(name: str, *, where: str) -> torch.device:
    available = available_kinds()
    if name == "auto":
        # Otherwise accelerate would form a group of CPUs, and every process would use one device.
        return torch.device("cpu" if read_flag(_CPU_LAUNCH) else available[0])
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in available:
        raise RecipeError(
            f"device {name!r} is not available here",
            where=where,
            fix=f"use auto or one of: {', '.join(available)}",
        )
    count = _count(device.type)
    if device.index is not None and device.index >= count:
        numbers = ", ".join(f"{device.type}:{number}" for number in range(count))
        seen = format_count(count, f"{device.type} device is", plural=f"{device.type} devices are")
        raise RecipeError(
            f"device {name!r} is not available here: {seen} visible",
            where=where,
            fix=f"use auto, {device.type} or one of: {numbers}"
            + (
                f"; {VISIBLE_DEVICES[device.type]} hides devices"
                if device.type in VISIBLE_DEVICES
                else ""
            ),
        )
    return device


def _is_available(kind: str) -> bool:
    if kind == "cpu":
        return True
    if kind == "mps":
        return torch.backends.mps.is_available()
    return bool(getattr(torch, kind).is_available())


def _count(kind: str) -> int:
    return int(getattr(torch, kind).device_count()) if kind in ("cuda", "xpu") else 1


def _fast_precision(device: torch.device) -> str:
    """Return the fastest native precision for training; emulated bf16 is slower than fp32."""
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        if capability >= (8, 0):
            return "bf16"
        # Volta and Turing (V100, T4) have fast fp16 matrix products; on Pascal they are no faster
        # than in fp32.
        return "fp16" if capability >= (7, 0) else "fp32"
    if device.type == "cpu":
        return "bf16" if {"avx512_bf16", "amx_bf16"} & _cpu_flags() else "fp32"
    return "bf16" if device.type == "xpu" else "fp32"


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return next((set(line.split()) for line in lines if line.startswith("flags")), set())


def _name(device: torch.device) -> str:
    if device.type in ("cuda", "xpu"):
        return _ask(lambda: str(_backend(device).get_device_name(device)), "name unknown")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return format_count(cores or 1, "core")


def _memory(device: torch.device) -> int:
    if device.type in ("cuda", "xpu"):
        properties = _backend(device).get_device_properties
        return _ask(lambda: int(properties(device).total_memory), 0)
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, AttributeError, OSError):
        return 0
