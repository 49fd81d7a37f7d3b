"""`GET /v1/models`, health, and metrics."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from captune.serving.api.docs import FAULTS
from captune.serving.state import state_of

router = APIRouter()

_READY_RESPONSES: dict[int | str, dict[str, Any]] = {
    421: FAULTS[421],
    503: {
        "description": "A model is not ready; see Retry-After.",
        "content": {"application/json": {}},
    },
}


@router.get("/v1/models", responses=FAULTS)
async def models(request: Request) -> dict[str, Any]:
    """List the models in OpenAI's format."""
    state = state_of(request)
    return {
        "schema": 1,
        "object": "list",
        "data": [
            {
                "id": name,
                "object": "model",
                "created": 0,
                "owned_by": "captune",
                "ready": engine.is_ready,
                "hardware": engine.hardware,
                "generate": engine.defaults,
            }
            for name, engine in state.engines.items()
        ],
    }


@router.get("/livez", responses={421: FAULTS[421]})
async def livez() -> dict[str, str]:
    """Answer as long as the server runs."""
    return {"status": "live"}


@router.get("/readyz", responses=_READY_RESPONSES)
async def readyz(request: Request) -> JSONResponse:
    """Answer 200 when every model can caption, else 503."""
    state = state_of(request)
    if state.is_ready:
        return JSONResponse({"status": "ready"})
    waiting = [name for name, engine in state.engines.items() if not engine.is_ready]
    return JSONResponse({"status": "not ready", "models": waiting}, 503, {"retry-after": "2"})


@router.get("/metrics", response_class=PlainTextResponse, responses=FAULTS)
async def metrics(request: Request) -> Response:
    """Return the metrics in Prometheus's text format."""
    return Response(state_of(request).metrics.render(), media_type="text/plain; version=0.0.4")
