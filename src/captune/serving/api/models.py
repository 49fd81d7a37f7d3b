"""`GET /v1/models`, health, and metrics."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from captune.serving.api.docs import FAULTS, NO_KEY
from captune.serving.engine.engine import Engine
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
    engines = state_of(request).engines.values()
    return {"schema": 1, "object": "list", "data": [_describe(engine) for engine in engines]}


@router.get("/v1/models/{name:path}", responses=FAULTS)
async def model(name: str, request: Request) -> dict[str, Any]:
    """Return one model in OpenAI's format."""
    return {"schema": 1, **_describe(state_of(request).find_engine(name))}


def _describe(engine: Engine) -> dict[str, Any]:
    return {
        "id": engine.model.name,
        "object": "model",
        "created": 0,
        "owned_by": "captune",
        "ready": engine.is_ready,
        "hardware": engine.hardware,
        "generate": engine.defaults,
    }


# Load balancers and uptime monitors often ask with HEAD.
@router.head("/livez", include_in_schema=False)
@router.get("/livez", responses={421: FAULTS[421]}, openapi_extra=NO_KEY)
async def livez() -> dict[str, str]:
    """Answer as long as the server runs."""
    return {"status": "live"}


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", responses=_READY_RESPONSES, openapi_extra=NO_KEY)
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
