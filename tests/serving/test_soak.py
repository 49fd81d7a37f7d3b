"""Mixed load at twice the capacity: memory stays flat, and nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import time
from pathlib import Path

import httpx
import pytest
from PIL import Image

from support.bombs import exif_of_shared_tags, png_of_texts, png_with_profile, tiff_of_shared_tags
from support.bulk.stub_captioner import Behaviour, write_stub
from support.serving.live_server import family, live_server, resident_bytes
from support.serving.pictures import encoded, picture, png, stub_caption
from support.soak import count, soak

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    pytest.mark.skipif("not __import__('pathlib').Path('/proc/self').exists()", reason="/proc"),
]

PNG_BODY = {"content-type": "image/png"}
_CAPACITY = 20  # Images per second of the stub below.


def _counts(process_id: int) -> tuple[int, int, int]:
    """Return the open files and threads of a server, and the number of its processes."""
    place = Path(f"/proc/{process_id}")
    return (
        len(list((place / "fd").iterdir())),
        len(list((place / "task").iterdir())),
        len(family(process_id)),
    )


def _is_as(before: tuple[int, int, int], process_id: int) -> bool:
    """Return whether a server has no more files, threads and processes than before, but for two."""
    now = _counts(process_id)
    return all(one <= then + 2 for one, then in zip(now, before, strict=True))


def _leave_early(port: int, content: bytes) -> None:
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", port), timeout=5) as connection,
    ):
        head = "POST /v1/caption HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
        connection.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)


async def _mixed_load(server, seconds: float) -> list[int]:
    """Ask at twice the capacity, with good, bad and large images and clients that leave."""
    dice = random.Random(1)
    large = encoded(picture(1, side=1200), "JPEG")
    asked: list[asyncio.Future[httpx.Response]] = []
    statuses: list[int] = []
    end = time.monotonic() + seconds
    async with server.asynchronous() as client:

        async def ask(content: bytes, number: int | None) -> None:
            answer = await client.post("/v1/caption", content=content, headers=PNG_BODY)
            statuses.append(answer.status_code)
            if number is not None and answer.status_code == 200:
                caption = answer.json()["results"][0]["caption"]
                assert caption == stub_caption(number)

        while time.monotonic() < end:
            number = dice.randrange(100)
            kind = dice.random()
            if kind < 0.7:
                asked.append(asyncio.ensure_future(ask(png(number), number)))
            elif kind < 0.8:
                asked.append(asyncio.ensure_future(ask(large, None)))
            elif kind < 0.9:
                asked.append(asyncio.ensure_future(ask(png(number)[:300], None)))
            else:
                await asyncio.to_thread(_leave_early, server.port, png(number))
            await asyncio.sleep(1 / (2 * _CAPACITY))
        await asyncio.gather(*asked)
    return statuses


@soak
def test_load_beyond_the_capacity_leaves_nothing_behind(tmp_path):
    behaviour = Behaviour(seconds_per_image=1 / _CAPACITY, seconds_per_word=0.0)
    write_stub(tmp_path / "stub", behaviour=behaviour)
    with live_server(tmp_path, ["stub"], "--deadline", 10) as running:
        asyncio.run(_mixed_load(running, count(8, full=10)))
        time.sleep(2)
        before, memory = _counts(running.process.pid), resident_bytes(family(running.process.pid))
        statuses = asyncio.run(_mixed_load(running, count(14, full=600)))
        assert set(statuses) <= {200, 400, 429}
        assert {200, 400, 429} <= set(statuses)
        # Idle connections are closed after ten seconds.
        end = time.monotonic() + 12
        while not _is_as(before, running.process.pid) and time.monotonic() < end:
            time.sleep(0.2)
        grown = resident_bytes(family(running.process.pid)) - memory
        after = _counts(running.process.pid)
        assert _is_as(before, running.process.pid), (before, after)
        assert grown < 60e6
        assert running.metric('captune_queue_depth{model="stub"}') == 0
        assert not running.events("error")
        assert running.stop() == 0


def test_64_bombs_at_once_take_at_most_1500_mb(tmp_path):
    write_stub(tmp_path / "stub")
    smooth = Image.linear_gradient("L")
    bombs = [
        tiff_of_shared_tags(),
        png_of_texts(),
        png_with_profile(),
        exif_of_shared_tags(),
        encoded(smooth.resize((7000, 7000)).convert("RGB"), "JPEG"),
        encoded(smooth.resize((7000, 7000)).convert("RGB"), "PNG"),
        encoded(smooth.resize((6000, 8000)).convert("RGB"), "WEBP", quality=50, method=0),
    ]
    with live_server(tmp_path, ["stub"], "--deadline", 200, "--max-queue", 64) as running:
        with running.client() as client:
            client.post("/v1/caption", content=png(1), headers=PNG_BODY)
        processes = family(running.process.pid)
        base = peak = resident_bytes(processes)
        workers = running.workers()

        async def run() -> list[httpx.Response]:
            nonlocal peak
            async with running.asynchronous(timeout=250) as client:
                asked = [
                    asyncio.ensure_future(
                        client.post(
                            "/v1/caption",
                            content=bombs[n % len(bombs)],
                            headers={"content-type": "application/octet-stream"},
                        )
                    )
                    for n in range(64)
                ]
                waiting = set(asked)
                while waiting:
                    _, waiting = await asyncio.wait(waiting, timeout=0.2)
                    peak = max(peak, resident_bytes(family(running.process.pid)))
                return [one.result() for one in asked]

        answers = asyncio.run(run())
        print(f"base {base / 1e6:.0f} MB, peak {(peak - base) / 1e6:.0f} MB above it")  # noqa: T201
        assert peak - base < 1.5e9
        assert {answer.status_code for answer in answers} <= {200, 400, 413, 415, 429}
        assert running.workers() == workers
        with running.client() as client:
            answer = client.post("/v1/caption", content=png(1), headers=PNG_BODY)
        assert answer.json()["results"][0]["caption"] == stub_caption(1)
        assert os.path.exists(f"/proc/{running.process.pid}")  # noqa: PTH110
