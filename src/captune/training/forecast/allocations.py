"""Memory that a pass takes over time, from small passes: what larger ones will need at their peak.

The same model makes the same allocations in the same order for one image and for two, only larger
ones. So the curve of a larger batch follows from two small passes, allocation by allocation, and
its peak may be elsewhere: gradients grow while activations shrink.
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
"""Bytes in use after each allocation and each release of a pass, above those before it."""

_POINTS = 4096


@dataclass(frozen=True, slots=True)
class PassMemory:
    """Memory of a pass over any number of images.

    Attributes:
        one: Curve of one image.
        more: What every further image adds to it.
    """

    one: Curve
    more: Curve

    def peak(self, num_images: int) -> int:
        """Return the peak of a pass in bytes, above what is in use before it."""
        return int(max(0.0, float((self.one + (num_images - 1) * self.more).max())))


def measure_pass(run: Callable[[int], object], hardware: Hardware) -> PassMemory:
    """Return the memory of a pass, from passes over one and two images.

    Args:
        run: Does the pass over a number of images; its result is dropped.
        hardware: The device whose memory counts.
    """
    # What is kept from the first pass, such as reordered weights, is not part of a pass.
    run(1)
    one, two = (_trace(lambda count=count: run(count), hardware) for count in (1, 2))  # type: ignore[misc]
    if len(one) != len(two):
        one, two = _resample(one), _resample(two)
    return PassMemory(one, two - one)


def _trace(work: Callable[[], object], hardware: Hardware) -> Curve:
    # The profiler's library announces itself on stderr, even to those who did not ask for it.
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
    """Return the curve at a fixed number of places."""
    places = np.linspace(0, len(curve) - 1, _POINTS)
    return np.interp(places, np.arange(len(curve)), curve)
