"""Print the extra megabytes that eight threads need to decode eight PNGs of 9000x9000 pixels.

This runs in its own process, so that nothing else affects its memory:
`large_images_script.py MODE FOLDER`.
"""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from captune.data import open_decoder

NUM_THREADS = 8


def main(mode: str, folder: Path) -> None:
    """Decode and measure."""
    large, small = folder / "large.png", folder / "small.png"
    Image.new("RGB", (9000, 9000)).save(large, compress_level=1)
    Image.new("RGB", (9, 9)).save(small)
    with (
        open_decoder(mode, num_threads=NUM_THREADS) as decoder,  # type: ignore[arg-type]
        ThreadPoolExecutor(NUM_THREADS) as pool,
    ):
        # All child processes run now, and their memory counts as base.
        list(pool.map(lambda path: decoder.decode(path, use), [small] * 64))
        base = peak = used_megabytes()
        ended = threading.Event()

        def watch() -> None:
            nonlocal peak
            while not ended.wait(0.02):
                peak = max(peak, used_megabytes())

        watcher = threading.Thread(target=watch)
        watcher.start()
        list(pool.map(lambda path: decoder.decode(path, use), [large] * NUM_THREADS))
        ended.set()
        watcher.join()
    sys.stdout.write(f"{peak - base}\n")


def use(image: Image.Image) -> int:
    """Turn the pixels into an array, as an image processor does first."""
    return int(np.asarray(image)[0, 0, 0])


def used_megabytes() -> float:
    """Return the memory of this process and its children; shared memory counts once."""
    pids = {str(os.getpid())}
    for thread in Path("/proc/self/task").iterdir():
        pids |= set((thread / "children").read_text().split())
    return sum(_own_kilobytes(pid) for pid in pids) / 1024


def _own_kilobytes(pid: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
