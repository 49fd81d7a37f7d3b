"""`POST /v1/caption`: captions of 1 to 16 images."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from captune.serving.api.answering import caption_all
from captune.serving.api.docs import CAPTION_BODY, CAPTION_RESPONSES
from captune.serving.api.read_call import read_caption_call
from captune.serving.api.schemas import caption_answer
from captune.serving.errors import ApiError
from captune.serving.state import state_of

router = APIRouter()


@router.post("/v1/caption", openapi_extra=CAPTION_BODY, responses=CAPTION_RESPONSES)
async def caption(request: Request) -> JSONResponse:
    """Caption images.

    A bad image fails alone: its result is an error, and the status is 200 as long as one image has
    a caption. If no image has one, the status is that of the first error.
    """
    state = state_of(request)
    call = await read_caption_call(request, state.settings.limits)
    engine, outcomes = await caption_all(request, call)
    content: dict[str, Any] = caption_answer(engine.model.name, outcomes)
    errors = [outcome for outcome in outcomes if isinstance(outcome, ApiError)]
    if len(errors) < len(outcomes):
        return JSONResponse(content)
    first = errors[0]
    headers = {} if first.retry_after is None else {"retry-after": str(first.retry_after)}
    content["error"] = {"code": first.code, "message": first.message}
    return JSONResponse(content, first.status, headers)
