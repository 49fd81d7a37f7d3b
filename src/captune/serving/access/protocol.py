"""Close connections that send nothing, too slowly or in tiny chunks, or do not read their answers.

uvicorn alone waits for them forever, or reads their chunks while all others wait.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from captune.serving.settings import RequestLimits

_FIRST_BYTES = 16_384
"""Enough for ordinary headers; the bytes after them wait until requests of others are answered."""

_PIECE = 65_536

_HEADER_BYTES = 65_536

_FREE_CHUNKS = 1000
_MIN_CHUNK_BYTES = 64
"""Reading a chunk of one byte takes about as long as one of several kilobytes, and nobody else is
served meanwhile: without a limit, 100 kB per second of such chunks would occupy the server."""

_TIMEOUT = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


def protocol_with(limits: RequestLimits) -> Callable[..., asyncio.Protocol]:
    """Return uvicorn's protocol with limits on times and on the number of connections."""
    # Connections without a complete request, oldest first.
    idle: dict[_GuardedProtocol, None] = {}
    waiting: deque[_GuardedProtocol] = deque()

    class Guarded(_GuardedProtocol):
        """The protocol of one server."""

    Guarded.limits, Guarded.idle, Guarded.waiting = limits, idle, waiting
    return Guarded


class _Connection(h11.Connection):
    """Refuses bodies of many tiny chunks."""

    _num_chunks = _num_bytes = 0

    def next_event(self) -> Any:
        """Return the next part of a request.

        Raises:
            h11.RemoteProtocolError: The bytes are not HTTP, or the chunks are too small.
        """
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._num_chunks = self._num_bytes = 0
        elif isinstance(event, h11.Data) and event.chunk_start:
            self._num_chunks += 1
            self._num_bytes += len(event.data)
            if self._num_chunks > _FREE_CHUNKS + self._num_bytes / _MIN_CHUNK_BYTES:
                raise h11.RemoteProtocolError("too many small chunks")
        return event


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
        self.conn = _Connection(h11.SERVER, _HEADER_BYTES)
        self._header_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._later = bytearray()

    def connection_made(self, transport: Any) -> None:
        """Start the header timer; close the longest idle connection if there are too many."""
        super().connection_made(transport)
        self._wait_for_headers()
        if len(self.connections) > self.limits.connections:
            next(iter(self.idle))._close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_timer()
        self.resume_writing()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait until the client has read; end the connection if it reads nothing for long."""
        super().pause_writing()
        if self._write_timer is None:
            self._watch_reader()

    def resume_writing(self) -> None:
        """Continue to write."""
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
        super().resume_writing()

    def _watch_reader(self, size: float = math.inf) -> None:
        """End the connection unless fewer than `size` bytes of the answer are left to send."""
        left = self.transport.get_write_buffer_size()
        if left >= size:
            self.transport.abort()
            return
        seconds = self.limits.send_seconds
        self._write_timer = self.loop.call_later(seconds, self._watch_reader, left)

    def shutdown(self) -> None:
        """Close the connection, or let its request finish first, because the server ends."""
        if self.conn.our_state is h11.ERROR:
            # h11 would raise an error, and uvicorn would then drop the requests of all others.
            self.transport.abort()
            return
        super().shutdown()
        if self.transport.is_closing():
            self._close()

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are not HTTP; close the connection if it has been answered before."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        self._close()

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
        is_active = self.cycle is not None and not self.cycle.response_complete
        if is_active and not self.transport.is_closing():
            self._stop_timer()

    def on_response_complete(self) -> None:
        """Start the timer for the next request, or for the rest of a rejected body."""
        self._wait_for_headers()
        super().on_response_complete()

    def _wait_for_headers(self) -> None:
        if self.transport.is_closing():
            self._close()
            return
        self._stop_timer()
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
        self._close()

    def _close(self) -> None:
        """Close the connection, even if the client never reads the end of its answer."""
        self._stop_timer()
        self.transport.close()
        self._header_timer = self.loop.call_later(self.limits.send_seconds, self.transport.abort)
