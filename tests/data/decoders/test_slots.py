"""Slots by pixels: the pixels decoded at once are bounded, and no thread waits forever."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from captune.data import PixelSlots
from captune.data.decoders.slots import NUM_SLOTS, SLOT_PIXELS

ALL = NUM_SLOTS * SLOT_PIXELS


def most_at_once(slots: PixelSlots, sizes: list[int], num_threads: int) -> int:
    """Return the maximum slots that leases of these sizes in pixels hold at the same time."""
    lock, held, most = threading.Lock(), 0, 0

    def hold(num_pixels: int) -> None:
        nonlocal held, most
        share = min(NUM_SLOTS, max(1, -(-num_pixels // SLOT_PIXELS)))
        with slots.lease() as lease:
            lease.take(0)
            lease.take(num_pixels)
            with lock:
                held += share
                most = max(most, held)
            time.sleep(0.002)
            with lock:
                held -= share

    with ThreadPoolExecutor(num_threads) as pool:
        list(pool.map(hold, sizes))
    return most


@pytest.mark.parametrize("make", [PixelSlots.for_threads, PixelSlots.for_processes])
def test_the_slots_in_use_never_exceed_the_total_whatever_the_sizes(make):
    sizes = [1, ALL // 2, 3 * ALL, ALL - 1, 9000 * 9000, 1000, SLOT_PIXELS + 1] * 12
    assert most_at_once(make(), sizes, 8) <= NUM_SLOTS


def test_small_images_are_decoded_in_parallel():
    assert most_at_once(PixelSlots.for_threads(), [640 * 480] * 40, 8) > 1


def test_slots_are_released_when_an_image_fails():
    slots = PixelSlots.for_threads()
    for _ in range(3):
        with pytest.raises(ValueError, match="broken"), slots.lease() as lease:
            lease.take(ALL)
            raise ValueError("broken")
    with slots.lease() as lease:
        lease.take(ALL)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("mode", ["inline", "isolated"])
def test_eight_threads_and_81_megapixels_each_stay_below_one_and_a_half_gigabytes(mode, tmp_path):
    script = Path(__file__).parent.parent.parent / "support" / "large_images_script.py"
    done = subprocess.run(
        [sys.executable, script, mode, tmp_path],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert 300 < float(done.stdout) < 1500
