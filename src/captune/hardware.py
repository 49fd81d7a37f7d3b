"""Which device and which precision: what the machine has, in one place and for no one vendor."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from captune.errors import RecipeError

_ORDER = ("cuda", "xpu", "mps", "cpu")


@dataclass(frozen=True, slots=True)
class Hardware:
    """A chosen device and precision.

    Attributes:
        device: Where the model runs.
        precision: `fp32`, `bf16` or `fp16`; the last two are autocast over float32 weights.
        name: For people: the chip.
        memory_bytes: Memory of the device; of the machine for `cpu` and `mps`.
    """

    device: torch.device
    precision: str
    name: str
    memory_bytes: int

    def autocast(self) -> AbstractContextManager[object]:
        """Autocast in the chosen precision; nothing for fp32."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float16
        return torch.autocast(self.device.type, dtype=dtype)

    def usage(self) -> dict[str, float]:
        """What the platform tells of the device now, for logs.

        Returns:
            `device_memory_gib`, the most memory that tensors took so far (on CPU the most that the
            process took), and `device_utilisation` in percent where the driver's library is there.
        """
        kind = self.device.type
        # MPS keeps no maximum.
        taken = torch.mps.current_allocated_memory() if kind == "mps" else self.peak_memory()
        usage = {"device_memory_gib": taken / 2**30} if taken else {}
        if kind == "cpu":
            return usage
        module = getattr(torch, kind)
        # CUDA's needs NVIDIA's or AMD's management library, which is not always installed.
        with contextlib.suppress(ImportError, RuntimeError, AttributeError):
            usage["device_utilisation"] = float(module.utilization(self.device))
        return usage

    def peak_memory(self) -> int:
        """Bytes: the most that tensors took so far, on CPU the process; 0 where it is not told."""
        kind = self.device.type
        if kind in ("cuda", "xpu"):
            return int(getattr(torch, kind).max_memory_allocated(self.device))
        if kind != "cpu" or sys.platform == "win32":
            return 0
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

    def describe(self) -> str:
        """One line for logs: device, chip, memory and precision."""
        return f"{self.device} ({self.name}, {self.memory_bytes / 2**30:.0f} GiB), {self.precision}"


def choose_hardware(
    device: str = "auto", precision: str = "auto", *, section: str = "train."
) -> Hardware:
    """The device by name or the best there is, and a precision it computes in.

    Args:
        device: `auto` (CUDA, XPU, MPS, CPU in that order) or a torch device name.
        precision: `auto`, `fp32`, `bf16` or `fp16`.
        section: Stands before `device` and `precision` in errors; empty: arguments, no recipe.

    Raises:
        RecipeError: The device is not there, or cannot compute in that precision.
    """
    chosen = _choose_device(device, where=f"{section}device")
    has_bf16 = _computes_in_bf16(chosen)
    if precision == "auto":
        precision = "bf16" if has_bf16 else "fp32"
    if precision == "fp16" and chosen.type in ("cpu", "mps"):
        raise RecipeError(
            f"precision fp16 does not work on {chosen.type}",
            where=f"{section}precision",
            fix="use auto, fp32 or bf16",
        )
    return Hardware(chosen, precision, _name(chosen), _memory(chosen))


def available_kinds() -> list[str]:
    """The kinds of device that torch can use here, the one taken by `auto` first."""
    return [kind for kind in _ORDER if _is_available(kind)]


def free_cached_memory(device: torch.device) -> None:
    """Gives back what torch keeps of the device's memory without using it."""
    if device.type != "cpu":
        getattr(torch, device.type).empty_cache()


def device_random_states() -> dict[str, list[torch.Tensor]]:
    """The random states of all devices but the CPU, by kind."""
    return {
        kind: [torch.mps.get_rng_state()] if kind == "mps" else _states(kind).get_rng_state_all()
        for kind in available_kinds()
        if kind != "cpu"
    }


def set_device_random_states(states: Mapping[str, Sequence[torch.Tensor]]) -> None:
    """Brings back what `device_random_states` gave; kinds that are not here are left out."""
    for kind in available_kinds():
        if kind == "mps" and kind in states:
            torch.mps.set_rng_state(states[kind][0])
        elif kind in states:
            _states(kind).set_rng_state_all(list(states[kind]))


def _states(kind: str) -> Any:
    return getattr(torch, kind)


def _choose_device(name: str, *, where: str) -> torch.device:
    available = available_kinds()
    if name == "auto":
        return torch.device(available[0])
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
    return device


def _is_available(kind: str) -> bool:
    if kind == "cpu":
        return True
    if kind == "mps":
        return torch.backends.mps.is_available()
    return bool(getattr(torch, kind).is_available())


def _computes_in_bf16(device: torch.device) -> bool:
    """Native bf16 only: emulated bf16 is slower than fp32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        return bool({"avx512_bf16", "amx_bf16"} & _cpu_flags())
    return device.type == "xpu"


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return next((set(line.split()) for line in lines if line.startswith("flags")), set())


def _name(device: torch.device) -> str:
    if device.type in ("cuda", "xpu"):
        return str(getattr(torch, device.type).get_device_name(device))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} cores"


def _memory(device: torch.device) -> int:
    if device.type in ("cuda", "xpu"):
        return int(getattr(torch, device.type).get_device_properties(device).total_memory)
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, AttributeError, OSError):
        return 0
