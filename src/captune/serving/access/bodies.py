"""Limits on the size, time and memory of request bodies, checked while they arrive."""

from __future__ import annotations

import asyncio
import time

from starlette.types import Message, Receive

from captune.serving.errors import ApiError
from captune.serving.settings import RequestLimits


class ByteBudget:
    """The bytes that a server may hold for all bodies together."""

    def __init__(self, most: int) -> None:
        """Start with `most` bytes."""
        self._left = most

    def take(self, count: int) -> None:
        """Take `count` bytes from the budget.

        Raises:
            ApiError: 429: the bodies held at the moment leave too few bytes.
        """
        if count > self._left:
            raise ApiError(429, "too_many_bytes", "the server holds too many images", retry_after=2)
        self._left -= count

    def give_back(self, count: int) -> None:
        """Give `count` bytes back."""
        self._left += count


class LimitedBody:
    """The body of one request; its `receive` replaces the server's."""

    def __init__(
        self, receive: Receive, length: int | None, *, limits: RequestLimits, budget: ByteBudget
    ) -> None:
        """Check the announced length.

        Args:
            receive: The server's function that returns the next message.
            length: `Content-Length` in bytes; `None`: the body is sent in chunks.
            limits: Limits of size and time.
            budget: Shared by all requests; bytes count as they arrive, so announcing a large body
                takes nothing from others.

        Raises:
            ApiError: 413: the announced length is too large.
        """
        self._receive, self._limits, self._budget = receive, limits, budget
        self._until = time.monotonic() + limits.body_seconds
        self._held = 0
        self._check_size(length or 0)
        self.is_complete = False

    async def receive(self) -> Message:
        """Return the next message.

        Raises:
            ApiError: 408: the body arrives too slowly; 413: it is too large; 429: see
                `ByteBudget.take`.
        """
        if self.is_complete:
            return await self._receive()
        try:
            async with asyncio.timeout(max(0.0, self._until - time.monotonic())):
                message = await self._receive()
        except TimeoutError:
            raise ApiError(
                408, "body_timeout", f"the body took over {self._limits.body_seconds:.0f} s"
            ) from None
        if message["type"] == "http.request":
            count = len(message.get("body", b""))
            self._check_size(self._held + count)
            self._budget.take(count)
            self._held += count
            self.is_complete = not message.get("more_body", False)
        else:
            self.is_complete = True
        return message

    def close(self) -> None:
        """Give all bytes back to the budget."""
        self._budget.give_back(self._held)
        self._held = 0

    def _check_size(self, count: int) -> None:
        most = self._limits.body_bytes
        if count > most:
            raise ApiError(413, "body_too_large", f"a body may have at most {most:,} bytes")
