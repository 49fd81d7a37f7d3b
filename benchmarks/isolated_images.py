"""Cost of decoding images in child processes: images per second, isolated and inline.

    python benchmarks/isolated_images.py FOLDER [--rounds 9] [--threads 2]

Both sides decode the same files with the same number of threads, in turns, so that other load
affects both. `decode` keeps only a checksum of the pixels; `decode + resize` also resizes each
image to the 384 x 384 pixels of a model's input, as captioning does in the same threads.
"""

from __future__ import annotations

import argparse
import statistics
import time
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from captune.data import IMAGE_SUFFIXES, open_decoder
from captune.data.decoders.decoder import ImageDecoder

MODES = ("inline", "isolated")
SIDE = 384


def main() -> None:
    """Print medians of both sides and the cost of isolation."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--images", type=int, default=400)
    options = parser.parse_args()
    found = sorted(p for p in options.folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    # A few files are decoded repeatedly, so that a round is long enough to time.
    files = (found * (options.images // len(found) + 1))[: options.images]
    for name, use in (("decode", checksum), ("decode + resize", resize)):
        compare(name, use, files=files, rounds=options.rounds, threads=options.threads)


def compare(
    name: str,
    use: Callable[[Image.Image], int],
    *,
    files: Sequence[Path],
    rounds: int,
    threads: int,
) -> None:
    """Time both sides in turns and print one line."""
    rates: dict[str, list[float]] = {mode: [] for mode in MODES}
    sums = {}
    with (
        open_decoder("inline", num_threads=threads) as inline,
        open_decoder("isolated", num_threads=threads) as isolated,
        ThreadPoolExecutor(threads) as pool,
    ):
        decoders = {"inline": inline, "isolated": isolated}
        for count in range(rounds + 1):
            for mode in MODES if count % 2 else reversed(MODES):
                seconds, sums[mode] = time_one(decoders[mode], use, files=files, pool=pool)
                if count:  # the first round starts the children
                    rates[mode].append(len(files) / seconds)
    assert sums["inline"] == sums["isolated"], "the pixels differ"
    inline_rate, isolated_rate = (statistics.median(rates[mode]) for mode in MODES)
    pairs = zip(rates["isolated"], rates["inline"], strict=True)
    loss = 1 - statistics.median(own / other for own, other in pairs)
    print(
        f"{name}: inline {inline_rate:.0f}, isolated {isolated_rate:.0f} images/s"
        f" ({threads} threads, medians of {rounds} rounds): {loss:+.1%} lost"
    )


def time_one(
    decoder: ImageDecoder,
    use: Callable[[Image.Image], int],
    *,
    files: Sequence[Path],
    pool: ThreadPoolExecutor,
) -> tuple[float, int]:
    """Return the seconds for all files, and a sum that shows whether their pixels are the same."""
    started = time.perf_counter()
    sums = list(pool.map(lambda path: decoder.decode(path, use), files))
    return time.perf_counter() - started, sum(sums)


def checksum(image: Image.Image) -> int:
    """Return a checksum of a corner pixel and the size, which costs next to no time."""
    width, height = image.size
    corners = bytes(image.getpixel((width - 1, height - 1)))  # type: ignore[arg-type]
    return zlib.crc32(corners) + width * height


def resize(image: Image.Image) -> int:
    """Resize to a model's input, and return a checksum of some of its pixels."""
    return zlib.crc32(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC).tobytes()[:999])


if __name__ == "__main__":
    main()
