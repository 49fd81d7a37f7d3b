"""A burst of requests: the refused ones wait neither for bodies nor for the accepted ones."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import socket
import time

import pytest

from captune.serving.access.arrivals import Arrivals
from captune.serving.app import build_app
from captune.serving.settings import ServerSettings
from support.bulk.stub_captioner import Behaviour, write_stub
from support.serving.live_server import live_server
from support.serving.pictures import png, stub_caption
from support.serving.stub_model import served_stub

_HEAD = b"POST /v1/caption HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"


@pytest.fixture(scope="module")
def small_queue(tmp_path_factory):
    """A server whose queue holds three images."""
    folder = tmp_path_factory.mktemp("burst")
    write_stub(folder / "stub", behaviour=Behaviour(seconds_per_batch=0.2))
    with live_server(folder, ["stub"], "--max-queue", 3) as running:
        yield running


def _answer(connection: socket.socket, seconds: float) -> bytes:
    """Return what arrives until an answer is complete."""
    connection.settimeout(seconds)
    received = b""
    with contextlib.suppress(TimeoutError):
        while piece := connection.recv(65_536):
            received += piece
            head, _, body = received.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            if length is not None and len(body) >= int(length[1]):
                break
    return received


@pytest.mark.slow
def test_a_request_beyond_the_queue_is_refused_before_anyone_sends_a_body(small_queue):
    content = png(1)
    announced = _HEAD + b"Content-Length: %d\r\n\r\n" % len(content)
    with contextlib.ExitStack() as stack:
        address = ("127.0.0.1", small_queue.port)
        first = []
        began = time.monotonic()
        for _ in range(3):
            first.append(stack.enter_context(socket.create_connection(address, timeout=10)))
            first[-1].sendall(announced)
        # The places of the three may have ended on a slow machine.
        last = stack.enter_context(socket.create_connection(address, timeout=10))
        last.sendall(announced)
        refused = _answer(last, 10)
        if time.monotonic() - began < 0.9:
            assert refused.split()[1] == b"429"
            assert b"retry-after: 1" in refused.lower()
            assert b'"queue_full"' in refused
            # The rest of a refused request is read, and the connection serves the next.
            last.sendall(content)
            last.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert _answer(last, 10).split()[1] == b"200"
        for connection in first:
            connection.sendall(content)
            answer = _answer(connection, 20)
            assert answer.split()[1] == b"200"
            assert stub_caption(1).encode() in answer


def test_requests_that_send_no_body_hold_their_places_for_a_second_only(small_queue):
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            connection = socket.create_connection(("127.0.0.1", small_queue.port), timeout=10)
            stack.enter_context(connection).sendall(_HEAD + b"Content-Length: 99\r\n\r\n")
        time.sleep(1.5)
        with small_queue.client() as client:
            answer = client.post(
                "/v1/caption", content=png(2), headers={"content-type": "image/png"}
            )
        assert answer.status_code == 200


def _headers_only(path: str = "/v1/caption") -> dict[str, object]:
    return {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", b"image/png")],
        "http_version": "1.1",
        "scheme": "http",
    }


@pytest.fixture
def ready_app(tmp_path, monkeypatch):
    """An application whose model counts as ready; no process is started."""
    write_stub(tmp_path / "stub")
    app, state = build_app(ServerSettings((served_stub(tmp_path / "stub"),), max_queue=64))
    (engine,) = state.engines.values()
    for worker in engine._workers:
        worker.is_ready = True
    return app, state


def test_of_a_burst_as_many_as_the_queue_holds_are_admitted_and_the_others_answered_first(
    ready_app,
):
    app, state = ready_app
    answered: list[int] = []
    read: list[int] = []

    async def ask(number: int) -> None:
        async def receive():
            read.append(number)
            await asyncio.sleep(60)

        async def send(message):
            if message["type"] == "http.response.start":
                assert message["status"] == 429
                assert (b"retry-after", b"1") in message["headers"]
                answered.append(number)

        await app(_headers_only(), receive, send)

    async def run():
        tasks = [asyncio.ensure_future(ask(number)) for number in range(200)]
        await asyncio.sleep(0)
        # One turn of the loop answers all that find no room, and reads nobody's body.
        assert (answered, read) == (list(range(64, 200)), [])
        assert state.arrivals.count == 64
        await asyncio.sleep(0.3)
        assert sorted(read) == list(range(64))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert state.arrivals.count == 0

    asyncio.run(run())


def test_one_turn_of_the_loop_reads_one_request():
    async def run():
        arrivals, done = Arrivals(), []

        async def take(number):
            await arrivals.wait_turn()
            done.append(number)

        tasks = [asyncio.ensure_future(take(number)) for number in range(5)]
        seen = []
        while len(done) < 5:
            await asyncio.sleep(0)
            seen.append(len(done))
        await asyncio.gather(*tasks)
        assert done == [0, 1, 2, 3, 4]
        assert all(after - before <= 1 for before, after in itertools.pairwise(seen))

    asyncio.run(run())


def test_a_place_is_given_back_once():
    async def run():
        arrivals = Arrivals()
        first, second = arrivals.admit(), arrivals.admit()
        first.release()
        first.release()
        assert arrivals.count == 1
        second.release()
        assert arrivals.count == 0

    asyncio.run(run())


@pytest.mark.parametrize("size", [16_000, 16_384, 20_000, 300_000])
def test_a_request_of_any_size_and_the_next_one_in_one_piece_are_both_answered(small_queue, size):
    body = png(1) + bytes(size)
    both = b"%bContent-Length: %d\r\n\r\n%b" % (_HEAD, len(body), body)
    both += b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    address = ("127.0.0.1", small_queue.port)
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(both)
        received = b""
        while piece := connection.recv(65_536):
            received += piece
    assert received.count(b"HTTP/1.1 200 OK") == 2
    assert stub_caption(1).encode() in received
