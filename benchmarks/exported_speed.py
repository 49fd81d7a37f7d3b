"""An exported model against the model itself, in turns: seconds and CPU seconds per image.

    python benchmarks/exported_speed.py MODEL EXPORTED [--precision bf16] [--num-beams 1] ...

Prints the ratio of medians first (above 1: the export is faster). Exactly `--tokens` tokens per
caption on both sides, so that random weights do not decide. Photographs are noise of 640 x 480.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
from PIL import Image

import captune
from captune.inference import LoadedCaptioner, decoding_config


def main() -> None:
    options = _parse()
    random = np.random.default_rng(0)
    shape = (options.batch_size, 480, 640, 3)
    pixels = random.integers(0, 256, shape, dtype=np.uint8)
    images = [(str(number), Image.fromarray(image)) for number, image in enumerate(pixels)]
    models = {
        name: captune.load(source, device="cpu", precision=options.precision)
        for name, source in (("model", options.model), ("exported", options.exported))
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in models}
    for turn in range(options.repeats + 1):
        for name, captioner in models.items():
            seconds = _time(captioner, images, options)
            # The first turn warms up.
            if turn:
                taken[name].append(seconds)
    medians = {
        name: [statistics.median(part) / len(images) for part in zip(*times, strict=True)]
        for name, times in taken.items()
    }
    wall, cpu = (a / b for a, b in zip(medians["model"], medians["exported"], strict=True))
    print(f"ratio: {wall:.2f} (wall), {cpu:.2f} (CPU seconds)")
    for name, captioner in models.items():
        seconds, cpu_seconds = medians[name]
        print(f"{name}: {seconds:.3f} s, {cpu_seconds:.3f} CPU s per image; {captioner.describe()}")


def _time(
    captioner: LoadedCaptioner, images: list[tuple[str, Image.Image]], options: argparse.Namespace
) -> tuple[float, float]:
    config = decoding_config(
        {
            "num_beams": options.num_beams,
            "max_new_tokens": options.tokens,
            "min_new_tokens": options.tokens,
        }
    )
    started, cpu = time.perf_counter(), time.process_time()
    list(captioner.stream(images, config=config, batch_size=len(images), decode="inline"))
    return time.perf_counter() - started, time.process_time() - cpu


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("exported")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--num-beams", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
