"""Connections whose clients do not read, send garbage or are too many, in a server in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import uvicorn

from captune.serving.access.protocol import protocol_with
from captune.serving.settings import RequestLimits

_MUCH = bytes(32_000_000)
_REQUEST = b"GET /%b HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def _app(scope: Any, _receive: Any, send: Any) -> None:
    """Answer at once, after a second, or with more than the system buffers."""
    body = b"ok"
    if scope["path"] == "/much":
        body = _MUCH
    if scope["path"] == "/slow":
        await asyncio.sleep(1.0)
    length = str(len(body)).encode()
    headers = [(b"content-length", length)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Served:
    """A server in a thread, and its end."""

    def __init__(self, **limits: float) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        protocol: Any = protocol_with(RequestLimits(**limits))  # type: ignore[arg-type]
        config = uvicorn.Config(
            _app, http=protocol, ws="none", lifespan="off", log_config=None, access_log=False
        )
        self.server = uvicorn.Server(config)
        self.ended = ThreadPoolExecutor(1).submit(self.server.run, sockets=[self.listener])

    def connect(self, sent: bytes = b"") -> socket.socket:
        """Open a connection with a small buffer, and send bytes."""
        opened = socket.socket()
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        opened.settimeout(10.0)
        opened.connect(self.listener.getsockname())
        opened.sendall(sent)
        return opened

    def wait_connections(self, count: int, seconds: float = 5.0) -> bool:
        """Wait until this many connections are open."""
        end = time.monotonic() + seconds
        while len(self.server.server_state.connections) != count and time.monotonic() < end:
            time.sleep(0.02)
        return len(self.server.server_state.connections) == count

    def end(self) -> None:
        """End the server as a signal does; raise the error that ended it, if any."""
        self.server.should_exit = True
        self.ended.result(20.0)


@contextlib.contextmanager
def _served(**limits: float) -> Iterator[Served]:
    served = Served(**limits)
    try:
        yield served
    finally:
        for connection in list(served.server.server_state.connections):
            connection.loop.call_soon_threadsafe(connection.transport.abort)
        served.end()


def test_a_client_that_reads_nothing_of_its_answer_is_disconnected():
    with _served(send_seconds=0.5) as served, served.connect(_REQUEST % b"much") as silent:
        assert served.wait_connections(1)
        with served.connect(_REQUEST % b"") as other:
            assert b"200 OK" in other.recv(4096)
        assert served.wait_connections(0)
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while piece := silent.recv(65536):
                received += len(piece)
        # What the system had buffered.
        assert received < len(_MUCH)


def test_a_client_that_reads_slowly_gets_its_whole_answer():
    with _served(send_seconds=0.5) as served, served.connect(_REQUEST % b"much") as slow:
        received, began = 0, time.monotonic()
        while received < len(_MUCH):
            piece = slow.recv(1 << 20)
            assert piece
            received += len(piece)
            # Two seconds in all, in which the server often waits, but never for half a second.
            time.sleep(max(0.0, 2.0 * received / len(_MUCH) - (time.monotonic() - began)))


def test_connections_that_read_nothing_do_not_protect_those_beyond_the_maximum():
    with contextlib.ExitStack() as held, _served(connections=2) as served:
        held.enter_context(served.connect(_REQUEST % b"much"))
        time.sleep(0.3)
        second, _, _ = [held.enter_context(served.connect()) for _ in range(3)]
        # The first cannot be closed before it has been read: the next one is.
        assert second.recv(1) == b""


_BAD_CHUNK = (
    b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5000\r\n" + bytes(0x5000) + b"\r\nnot a number\r\n"
)


def test_garbage_after_an_answer_closes_the_connection_and_does_not_disturb_the_end():
    with _served() as served, served.connect(_REQUEST % b"slow") as asked:
        with served.connect(_BAD_CHUNK) as bad:
            received = b""
            with contextlib.suppress(ConnectionResetError):
                while piece := bad.recv(4096):
                    received += piece
            assert received.count(b"HTTP/1.1") == 1
            assert served.wait_connections(1)
        served.end()
        assert asked.recv(4096).startswith(b"HTTP/1.1 200 OK")
