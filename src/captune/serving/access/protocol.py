"""Close connections that send nothing or send too slowly; uvicorn alone waits for them forever."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from captune.serving.settings import RequestLimits

_FIRST_BYTES = 16_384
"""Enough for ordinary headers; the bytes after them wait until requests of others are answered."""

_PIECE = 65_536

_TIMEOUT = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


def protocol_with(limits: RequestLimits) -> Callable[..., asyncio.Protocol]:
    """Return uvicorn's protocol with a time limit for headers and a maximum of connections."""
    # Connections without a complete request, oldest first.
    idle: dict[_GuardedProtocol, None] = {}
    waiting: deque[_GuardedProtocol] = deque()

    class Guarded(_GuardedProtocol):
        """The protocol of one server."""

    Guarded.limits, Guarded.idle, Guarded.waiting = limits, idle, waiting
    return Guarded


class _GuardedProtocol(H11Protocol):
    """One connection.

    Attributes:
        limits: Limits of requests.
        idle: All connections without a complete request, oldest first.
        waiting: All connections with bytes that have not been read yet, oldest first.
    """

    limits: RequestLimits
    idle: dict[_GuardedProtocol, None]
    waiting: deque[_GuardedProtocol]

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._header_timer: asyncio.TimerHandle | None = None
        self._later = bytearray()

    def connection_made(self, transport: Any) -> None:
        """Start the header timer; close the longest idle connection if there are too many."""
        super().connection_made(transport)
        self._wait_for_headers()
        if len(self.connections) > self.limits.connections:
            next(iter(self.idle)).transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read the beginning of a request now, and a large rest in a turn of the event loop.

        The headers decide whether a request is refused. Reading a body takes longer, and all
        requests of a burst would wait until the bodies of all others have been read. So each turn
        reads the rest of one request, and no more of it arrives in the meantime.
        """
        if self._later:
            self._later += data
            self.flow.pause_reading()
            return
        is_new = self.cycle is None or self.cycle.response_complete
        if not is_new or len(data) <= _FIRST_BYTES:
            super().data_received(data)
            return
        self._later += data[_FIRST_BYTES:]
        self.flow.pause_reading()
        super().data_received(data[:_FIRST_BYTES])
        self.waiting.append(self)
        if len(self.waiting) == 1:
            # The next turn answers refused requests; the one after it reads the first rest.
            self.loop.call_soon(self.loop.call_soon, self._read_next)

    def _read_next(self) -> None:
        try:
            self.waiting.popleft()._receive_rest()
        finally:
            if self.waiting:
                self.loop.call_soon(self._read_next)

    def _receive_rest(self) -> None:
        rest, self._later = bytes(self._later), bytearray()
        if self.transport.is_closing():
            return
        # Before the bytes are read: they may fill the body's buffer, which pauses again.
        self.flow.resume_reading()
        # h11 checks the size of headers only while they are incomplete.
        for at in range(0, len(rest), _PIECE):
            if not self.transport.is_closing():
                super().data_received(rest[at : at + _PIECE])

    def handle_events(self) -> None:
        """Read what has arrived; stop the header timer once the headers are complete."""
        super().handle_events()
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_timer()

    def on_response_complete(self) -> None:
        """Start the timer for the next request, or for the rest of a rejected body."""
        self._wait_for_headers()
        super().on_response_complete()

    def _wait_for_headers(self) -> None:
        self._stop_timer()
        if not self.transport.is_closing():
            self.idle[self] = None
            seconds = self.limits.header_seconds
            self._header_timer = self.loop.call_later(seconds, self._end)

    def _stop_timer(self) -> None:
        self.idle.pop(self, None)
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _end(self) -> None:
        if self.transport.is_closing():
            return
        has_begun = bool(self.conn.trailing_data[0])
        if has_begun and self.conn.their_state is h11.IDLE:
            # Never write this to an idle connection: the client would take it as its next answer.
            self.transport.write(_TIMEOUT)
        self.transport.close()
