"""`POST /v1/chat/completions`: captions for clients of OpenAI's API."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from captune.records import Prediction
from captune.serving.api.answering import caption_all
from captune.serving.api.chat_call import read_chat_call
from captune.serving.api.chat_stream import count_tokens, finish_reason, stream_chat
from captune.serving.api.docs import CHAT_BODY, CHAT_RESPONSES
from captune.serving.api.json_body import read_json_body
from captune.serving.errors import ApiError
from captune.serving.state import state_of

router = APIRouter()


@router.post("/v1/chat/completions", openapi_extra=CHAT_BODY, responses=CHAT_RESPONSES)
async def chat(request: Request) -> Response:
    """Caption the image of the last user message.

    Captioners do not follow instructions: the text of messages is ignored, and so are
    instructions that an image shows. `generate` accepts captune's own settings, such as a prompt
    that captions start with.
    """
    state = state_of(request)
    limits = state.settings.limits
    call, form = await read_json_body(request, lambda content: read_chat_call(content, limits))
    head = {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "created": int(time.time()),
        "model": state.find_engine(call.model).model.name,
    }
    if form.is_streamed:
        return await stream_chat(request, call, head=head, form=form)
    _, (outcome,) = await caption_all(request, call)
    if isinstance(outcome, ApiError):
        raise outcome
    return JSONResponse(_completion(head, [form.cut(one) for one in outcome]))


def _completion(head: dict[str, Any], captions: Sequence[Prediction]) -> dict[str, Any]:
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": one.caption, "refusal": None},
            "logprobs": None,
            "finish_reason": finish_reason(one),
        }
        for index, one in enumerate(captions)
    ]
    usage = count_tokens(captions)
    return {**head, "object": "chat.completion", "choices": choices, "usage": usage}
