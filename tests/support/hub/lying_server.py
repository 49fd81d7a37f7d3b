"""A raw TCP server on loopback whose answers are functions, so that it can misbehave."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

Answer = Callable[[socket.socket], None]


@dataclass
class LyingServer:
    """A server with one answer per path.

    Attributes:
        port: Its port on 127.0.0.1.
        answers: Request path -> function that gets the connection.
        requests: Request lines so far.
        heads: Complete request heads so far.
        stop: Set when the test ends; endless answers check it.
    """

    port: int
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def say(self, path: str, body: bytes, *headers: str, status: str = "200 OK") -> None:
        """Set a plain answer; Content-Length is that of the body unless the headers set it."""
        lines = list(headers)
        if not any(h.lower().startswith(("content-length", "transfer-enc")) for h in headers):
            lines.append(f"Content-Length: {len(body)}")
        head = "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode("utf-8")
        self.answers[path] = lambda connection: connection.sendall(head + body)

    def redirect(self, path: str, location: str) -> None:
        """Set a redirect to any location."""
        self.say(path, b"", f"Location: {location}", status="302 Found")


@contextmanager
def lying_server(tls: ssl.SSLContext | None = None) -> Iterator[LyingServer]:
    """Run a server; its threads end with the block."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = LyingServer(listener.getsockname()[1])

    def serve(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            wrapped = tls.wrap_socket(connection, server_side=True) if tls else connection
            with wrapped:
                head = b""
                while b"\r\n\r\n" not in head:
                    piece = wrapped.recv(4096)
                    if not piece:
                        return
                    head += piece
                text = head.decode("latin-1")
                server.heads.append(text)
                server.requests.append(text.splitlines()[0])
                server.answers[text.split(" ")[1]](wrapped)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield server
    finally:
        server.stop.set()
        listener.close()
