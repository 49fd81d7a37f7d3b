"""Close connections that send nothing or send too slowly; uvicorn alone waits for them forever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from captune.serving.settings import RequestLimits

_TIMEOUT = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


def protocol_with(limits: RequestLimits) -> Callable[..., asyncio.Protocol]:
    """Return uvicorn's protocol with a time limit for headers and a maximum of connections."""
    # Connections without a complete request, oldest first.
    idle: dict[_GuardedProtocol, None] = {}

    class Guarded(_GuardedProtocol):
        """The protocol of one server."""

    Guarded.limits, Guarded.idle = limits, idle
    return Guarded


class _GuardedProtocol(H11Protocol):
    """One connection."""

    limits: RequestLimits
    idle: dict[_GuardedProtocol, None]

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._header_timer: asyncio.TimerHandle | None = None

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
