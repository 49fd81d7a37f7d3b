"""Requests that were let in and whose images are not known yet: each holds a place in the queue.

A request is refused as soon as its headers have arrived, so those of one burst must count before
their bodies are read. A slow client holds its place for a second at most.
"""

from __future__ import annotations

import asyncio

_SECONDS_HELD = 1.0


class Arrivals:
    """The places held by all requests that are arriving; for the event loop's thread."""

    def __init__(self) -> None:
        """Start with none."""
        self.count = 0
        self._turns = asyncio.Lock()

    def admit(self) -> Arrival:
        """Hold a place for a request."""
        return Arrival(self)

    async def wait_turn(self) -> None:
        """Wait for a turn of the event loop; each turn goes to one request.

        Reading an image and queueing it takes longer than a refusal: without turns, the refused
        requests of a burst would wait until all others have been read.
        """
        async with self._turns:
            await asyncio.sleep(0)


class Arrival:
    """The place of one request."""

    def __init__(self, arrivals: Arrivals) -> None:
        """Take the place."""
        self._arrivals: Arrivals | None = arrivals
        arrivals.count += 1
        self._timer = asyncio.get_running_loop().call_later(_SECONDS_HELD, self.release)

    def release(self) -> None:
        """Give the place back; may be called several times."""
        if self._arrivals is not None:
            self._timer.cancel()
            self._arrivals.count -= 1
            self._arrivals = None
