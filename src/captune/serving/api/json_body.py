"""The JSON body of a request; a large one is read beside the event loop, which serves others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import Request

from captune.serving.api.strict_json import parse_strict_json
from captune.serving.state import state_of

T = TypeVar("T")

# Reading this much takes 1 or 2 ms, about as much as the rest of a request.
_SMALL = 1 << 18


async def read_json_body(request: Request, read: Callable[[Any], T]) -> T:
    """Return what `read` makes of the body's JSON value.

    Raises:
        ApiError: See `LimitedBody`, `parse_strict_json` and `read`.
    """
    content = await request.body()
    if len(content) <= _SMALL:
        return read(parse_strict_json(content))
    loop = asyncio.get_running_loop()
    parsing = state_of(request).parsing
    return await loop.run_in_executor(parsing, lambda: read(parse_strict_json(content)))
