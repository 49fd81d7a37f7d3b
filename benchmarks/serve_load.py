"""Measure the server: batches against single images, and its speed against `captune bench caption`.

Prints the ratio first. With a model folder, the server captions photographs of random pixels sent
by several clients, and `captune.load(...).caption` captions the same files in batches:

    python benchmarks/serve_load.py                  # a stub: batches of 16 against batches of 1
    python benchmarks/serve_load.py MODEL --images 192
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.bulk.stub_captioner import Behaviour, write_stub  # noqa: E402
from support.serving.live_server import LiveServer, live_server  # noqa: E402
from support.serving.pictures import encoded, picture  # noqa: E402

CLIENTS = 16
HEADERS = {"content-type": "image/jpeg"}


def main() -> None:
    """Print the ratio, the rates and the times."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", nargs="?", help="a model folder; none: a stub")
    parser.add_argument("--images", type=int, default=192)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5, help="turns of server and library")
    parser.add_argument("--backend", default="torch", help="torch or openvino, for both")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="captune-load-") as name:
        if chosen.model is None:
            measure_stub(Path(name), chosen)
        else:
            measure_model(Path(name), chosen)


def measure_stub(folder: Path, chosen: argparse.Namespace) -> None:
    """Compare batches of 16 with batches of 1; the stub takes 100 ms per batch."""
    write_stub(folder / "stub", behaviour=Behaviour(seconds_per_batch=0.1, seconds_per_image=0.005))
    contents = photographs(chosen.images, side=64)
    rates = {}
    for size in (1, 16):
        with live_server(folder / str(size), [folder / "stub"], "--max-batch", size) as server:
            rates[size], times = ask_all(server, contents, chosen.clients)
            print(f"batches of at most {size}: {rates[size]:.1f} images/s, {shown(times)}")
    print(f"ratio {rates[16] / rates[1]:.2f}")


def measure_model(folder: Path, chosen: argparse.Namespace) -> None:
    """Compare the server with the library on the same files, in turns."""
    import captune
    from captune.data import count_threads

    contents = photographs(chosen.images, side=480)
    flags = ["--backend", chosen.backend, "--warmup", "--max-batch", chosen.batch]
    flags += ["--deadline", 600]
    # The environment of stubs limits torch to one thread.
    threads = {"OMP_NUM_THREADS": str(count_threads())}
    model = captune.load(chosen.model)
    ratios, times = [], []
    with live_server(folder, [Path(chosen.model).resolve()], *flags, **threads) as server:
        ask_all(server, contents[: chosen.batch], chosen.clients)
        model.caption(contents[: chosen.batch], batch_size=chosen.batch)
        for _ in range(chosen.rounds):
            served, found = ask_all(server, contents, max(chosen.clients, 2 * chosen.batch))
            began = time.perf_counter()
            model.caption(contents, batch_size=chosen.batch)
            library = len(contents) / (time.perf_counter() - began)
            ratios.append(served / library)
            times += found
            print(f"served {served:.2f} images/s, library {library:.2f}", flush=True)
    print(f"ratio {statistics.median(ratios):.3f}, median of {len(ratios)}")
    print(f"requests: {shown(times)}; the library runs {model.describe()}")


def photographs(count: int, *, side: int) -> list[bytes]:
    """Return JPEG files of random pixels."""
    return [encoded(picture(number, side=side), "JPEG", quality=90) for number in range(count)]


def ask_all(server: LiveServer, contents: list[bytes], clients: int) -> tuple[float, list[float]]:
    """Send all images from a number of clients; return images per second and all times."""

    async def run() -> list[float]:
        gate = asyncio.Semaphore(clients)
        async with server.asynchronous(timeout=600) as client:

            async def ask(content: bytes) -> float:
                async with gate:
                    began = time.perf_counter()
                    answer = await client.post("/v1/caption", content=content, headers=HEADERS)
                    answer.raise_for_status()
                    return time.perf_counter() - began

            return await asyncio.gather(*(ask(content) for content in contents))

    began = time.perf_counter()
    times = asyncio.run(run())
    return len(contents) / (time.perf_counter() - began), times


def shown(times: list[float]) -> str:
    """Return the median and the 99th percentile in words."""
    last = sorted(times)[int(0.99 * (len(times) - 1))]
    return f"median {1000 * statistics.median(times):.0f} ms, p99 {1000 * last:.0f} ms"


if __name__ == "__main__":
    main()
