"""`GET /v1/models`, health, and metrics."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from captune.serving.state import state_of

router = APIRouter()


@router.get("/v1/models")
async def models(request: Request) -> dict[str, Any]:
    """List the models, in the form of OpenAI's."""
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


@router.get("/livez")
async def livez() -> dict[str, str]:
    """Answer as long as the server runs."""
    return {"status": "live"}


@router.get("/readyz")
async def readyz(request: Request) -> JSONResponse:
    """Answer 200 when every model can caption, else 503."""
    state = state_of(request)
    if state.is_ready:
        return JSONResponse({"status": "ready"})
    waiting = [name for name, engine in state.engines.items() if not engine.is_ready]
    return JSONResponse({"status": "not ready", "models": waiting}, 503, {"retry-after": "2"})


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Return the metrics in the text format of Prometheus."""
    return Response(state_of(request).metrics.render(), media_type="text/plain; version=0.0.4")
