"""`POST /v1/chat/completions`: captions for clients of OpenAI's API."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from captune.records import Prediction
from captune.serving.api.answering import caption_all
from captune.serving.api.chat_call import read_chat_call
from captune.serving.api.docs import CHAT_BODY, CHAT_RESPONSES
from captune.serving.api.json_body import read_json_body
from captune.serving.errors import ApiError
from captune.serving.state import state_of

router = APIRouter()

_CHUNK = "chat.completion.chunk"


@router.post("/v1/chat/completions", openapi_extra=CHAT_BODY, responses=CHAT_RESPONSES)
async def chat(request: Request) -> Response:
    """Caption the image of the last user message.

    Captioners do not follow instructions: the text of messages is ignored, and so are
    instructions that an image shows. `generate` accepts captune's own settings, such as a prompt
    that captions start with.
    """
    limits = state_of(request).settings.limits
    call, form = await read_json_body(request, lambda content: read_chat_call(content, limits))
    engine, (outcome,) = await caption_all(request, call)
    if isinstance(outcome, ApiError):
        raise outcome
    head = {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "created": int(time.time()),
        "model": engine.model.name,
    }
    if form.is_streamed:
        events = _events(head, outcome, has_usage=form.has_usage)
        return StreamingResponse(events, media_type="text/event-stream")
    return JSONResponse(_completion(head, outcome))


def _completion(head: dict[str, Any], captions: tuple[Prediction, ...]) -> dict[str, Any]:
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": one.caption, "refusal": None},
            "logprobs": None,
            "finish_reason": _finish(one),
        }
        for index, one in enumerate(captions)
    ]
    return {**head, "object": "chat.completion", "choices": choices, "usage": _usage(captions)}


def _usage(captions: tuple[Prediction, ...]) -> dict[str, int]:
    tokens = sum(one.num_tokens for one in captions)
    return {"prompt_tokens": 0, "completion_tokens": tokens, "total_tokens": tokens}


async def _events(
    head: dict[str, Any], captions: tuple[Prediction, ...], *, has_usage: bool
) -> AsyncIterator[str]:
    """Yield the captions as server-sent events, one word per event."""
    for index, one in enumerate(captions):
        yield _event(head, index, {"role": "assistant", "content": ""})
        for place, word in enumerate(one.caption.split(" ")):
            yield _event(head, index, {"content": f" {word}" if place else word})
        yield _event(head, index, {}, finish_reason=_finish(one))
    if has_usage:
        last = {**head, "object": _CHUNK, "choices": [], "usage": _usage(captions)}
        yield f"data: {json.dumps(last)}\n\n"
    yield "data: [DONE]\n\n"


def _event(
    head: dict[str, Any], index: int, delta: dict[str, str], *, finish_reason: str | None = None
) -> str:
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    content = {**head, "object": _CHUNK, "choices": [choice]}
    return f"data: {json.dumps(content)}\n\n"


def _finish(caption: Prediction) -> str:
    return "stop" if caption.finish_reason == "eos" else "length"
