"""A server's application in this process, with its real processes for models."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

import httpx

from captune.serving.access.guard import Guard
from captune.serving.state import ServerState
from support.bulk.fork_server import stub_environment

T = TypeVar("T")


async def run_app(
    app: Guard, state: ServerState, ask: Callable[[httpx.AsyncClient], Awaitable[T]]
) -> T:
    """Start the models, wait until they are ready, and return what `ask` returns."""
    # Children find the stub as those of a command do.
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = stub_environment()["PYTHONPATH"]
    try:
        for engine in state.engines.values():
            engine.start()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    try:
        async with asyncio.timeout(90):
            while not state.is_ready:
                await asyncio.sleep(0.02)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await ask(client)
    finally:
        for engine in state.engines.values():
            engine.close()
        state.downloads.shutdown()
