"""The memory of a pass over time, from which the peak of larger passes is predicted.

For one image and for two, a model makes the same allocations in the same order, only larger ones.
So the curve of a larger batch follows from two small passes, allocation by allocation. Its peak may
be at another point of the pass: gradients grow while activations shrink.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from captune.hardware import Hardware

Curve = np.ndarray[Any, np.dtype[np.float64]]
"""Bytes in use after each allocation and each release of a pass, minus those in use before it."""

_POINTS = 4096


@dataclass(frozen=True, slots=True)
class PassMemory:
    """Memory of a pass over any number of images.

    Attributes:
        one: Curve of one image.
        more: Bytes that each further image adds to it.
    """

    one: Curve
    more: Curve

    def peak(self, num_images: int) -> int:
        """Return the peak of a pass in bytes, not counting the memory in use before it."""
        return int(max(0.0, float((self.one + (num_images - 1) * self.more).max())))


def measure_pass(run: Callable[[int], object], hardware: Hardware) -> PassMemory:
    """Return the memory of a pass, measured with one and two images.

    Args:
        run: Runs the pass over the given number of images; its result is dropped.
        hardware: The device whose memory is counted.
    """
    # Memory that the first pass keeps, such as reordered weights, does not belong to every pass.
    run(1)
    one, two = (_trace(lambda count=count: run(count), hardware) for count in (1, 2))  # type: ignore[misc]
    if len(one) != len(two):
        one, two = _resample(one), _resample(two)
    return PassMemory(one, two - one)


def _trace(work: Callable[[], object], hardware: Hardware) -> Curve:
    # Otherwise the profiler's library prints to stderr.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        work()
    kind = hardware.device.type.upper()
    events = sorted(
        (event.start_ns(), event.nbytes())
        for event in profile.profiler.kineto_results.events()
        if event.name() == "[memory]" and event.device_type().name == kind
    )
    return np.concatenate([[0.0], np.cumsum([size for _, size in events], dtype=np.float64)])


def _resample(curve: Curve) -> Curve:
    """Return the curve, interpolated to a fixed number of points."""
    places = np.linspace(0, len(curve) - 1, _POINTS)
    return np.interp(places, np.arange(len(curve)), curve)
