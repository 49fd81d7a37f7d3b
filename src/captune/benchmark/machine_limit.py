"""The machine's limit, measured in the same run as the work that is compared with it.

Two figures bound every pass of a model: operations per second of large matrix products in the
precision used, and bytes per second of reading or copying large arrays. Both are the best of
several rounds, so that other load on the machine makes a share look smaller, never larger.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from captune.hardware import Hardware

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Precision -> type of the numbers that are multiplied."""

_SIDES = {"cpu": (1024, 2048), "other": (4096, 8192)}
_BYTES = {"cpu": 256 << 20, "other": 2 << 30}


@dataclass(frozen=True, slots=True)
class Work:
    """Work that cannot be avoided.

    Attributes:
        operations: Floating-point operations; a multiplication and an addition are two.
        bytes_moved: Bytes that are read from memory or written to it.
    """

    operations: float
    bytes_moved: float = 0.0

    def times(self, factor: float) -> Work:
        """Return the work of several passes."""
        return Work(self.operations * factor, self.bytes_moved * factor)


@dataclass(frozen=True, slots=True)
class MachineLimit:
    """What the device can do per second.

    Attributes:
        precision: Of the matrix products.
        operations_per_s: Floating-point operations of matrix products.
        bytes_per_s: Bytes read, or read and written, whichever is faster.
    """

    precision: str
    operations_per_s: float
    bytes_per_s: float

    def least_seconds(self, *phases: Work) -> float:
        """Return the shortest possible time of phases that follow each other.

        Within a phase, computing and moving bytes may overlap completely.
        """
        return sum(
            max(phase.operations / self.operations_per_s, phase.bytes_moved / self.bytes_per_s)
            for phase in phases
        )

    def describe(self) -> str:
        """Return the figures in one line."""
        return (
            f"{self.operations_per_s / 1e9:,.0f} GFLOP/s of matrix products in {self.precision},"
            f" {self.bytes_per_s / 1e9:.1f} GB/s of memory"
        )

    def as_json(self) -> dict[str, float | str]:
        """Return the figures for a JSON file."""
        return {
            "precision": self.precision,
            "gflop_per_s": self.operations_per_s / 1e9,
            "gb_per_s": self.bytes_per_s / 1e9,
        }


def measure_limit(hardware: Hardware, *, seconds: float = 1.0) -> MachineLimit:
    """Measure the limit of a device in the precision that the work uses.

    Args:
        hardware: Device and precision.
        seconds: Time for each of the two figures.
    """
    kind = "cpu" if hardware.device.type == "cpu" else "other"
    products = max(
        2 * side**3 / _fastest(_product(side, hardware), hardware, seconds=seconds / 2)
        for side in _SIDES[kind]
    )
    size = _BYTES[kind]
    source = torch.ones(size // 4, dtype=torch.float32, device=hardware.device)
    target = torch.empty_like(source)
    reading = size / _fastest(source.sum, hardware, seconds=seconds / 2)
    copying = 2 * size / _fastest(lambda: target.copy_(source), hardware, seconds=seconds / 2)
    return MachineLimit(hardware.precision, products, max(reading, copying))


def _product(side: int, hardware: Hardware) -> Callable[[], object]:
    dtype = DTYPES[hardware.precision]
    generator = torch.Generator().manual_seed(0)
    left, right = (
        torch.randn(side, side, generator=generator).to(hardware.device, dtype) for _ in range(2)
    )
    result = torch.empty_like(left)
    return lambda: torch.mm(left, right, out=result)


def _fastest(work: Callable[[], object], hardware: Hardware, *, seconds: float) -> float:
    """Return the seconds of the fastest of at least three rounds."""
    work()
    hardware.synchronize()
    best, end, rounds = float("inf"), time.perf_counter() + seconds, 0
    while rounds < 3 or time.perf_counter() < end:
        started = time.perf_counter()
        work()
        hardware.synchronize()
        best = min(best, time.perf_counter() - started)
        rounds += 1
    return best
