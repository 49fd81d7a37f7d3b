"""The application: routes, state, and the guard around both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from captune import __version__
from captune.net import UrlFetcher, UrlRules, read_named_host
from captune.serving.access.arrivals import Arrivals
from captune.serving.access.bodies import ByteBudget
from captune.serving.access.guard import Guard, error_response
from captune.serving.access.hosts import HostRules
from captune.serving.access.keys import KeyFile
from captune.serving.api import caption, chat, models
from captune.serving.api.docs import KEY_HEADERS
from captune.serving.engine.engine import Engine
from captune.serving.errors import ApiError
from captune.serving.page import routes as page
from captune.serving.settings import ServerSettings
from captune.serving.state import ServerState
from captune.serving.watch.metrics import ServerMetrics

_DOWNLOADS = 16


def build_app(settings: ServerSettings) -> tuple[Guard, ServerState]:
    """Return the application and its state; the models load when it starts.

    Raises:
        CaptuneError: The address requires a key file, the key file cannot be used, or an allowed
            host is not a host.
    """
    settings.check()
    keys = None if settings.api_key_file is None else KeyFile(settings.api_key_file)
    metrics = ServerMetrics()
    only = [read_named_host(host, flag="--allow-url-host") for host in settings.allow_url_hosts]
    rules = UrlRules(max_bytes=settings.limits.image_bytes, only_hosts=frozenset(only))
    state = ServerState(
        settings=settings,
        engines={model.name: Engine(model, settings, metrics) for model in settings.models},
        metrics=metrics,
        fetcher=UrlFetcher(rules) if settings.allow_url_hosts else None,
        budget=ByteBudget(settings.limits.all_bytes),
        downloads=ThreadPoolExecutor(_DOWNLOADS, "captune-download"),
        parsing=ThreadPoolExecutor(1, "captune-parse"),
        arrivals=Arrivals(),
    )
    hosts = HostRules(settings.host, settings.allow_hosts)
    app = Guard(_routes(state), hosts=hosts, keys=keys, limits=settings.limits, state=state)
    return app, state


def _routes(state: ServerState) -> FastAPI:
    @asynccontextmanager
    async def run_models(_app: FastAPI) -> AsyncIterator[None]:
        for engine in state.engines.values():
            engine.start()
        yield
        for engine in state.engines.values():
            engine.close()
        for pool in (state.downloads, state.parsing):
            pool.shutdown(wait=False, cancel_futures=True)

    # FastAPI's documentation pages load scripts from another server.
    # A redirect would name the scheme and host that the server sees, not those of its proxy.
    app = _Api(
        title="captune",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=run_models,
        redirect_slashes=False,
    )
    app.state.captune = state
    app.add_exception_handler(ApiError, _explain)
    app.add_exception_handler(HTTPException, _explain_http)
    app.add_exception_handler(ClientDisconnect, _explain_end)
    app.add_exception_handler(Exception, _explain_fault)
    for part in (caption, chat, models, page):
        app.include_router(part.router)
    return app


class _Api(FastAPI):
    """Adds to the OpenAPI file how requests send their key."""

    def openapi(self) -> dict[str, Any]:
        """Return the content of the file."""
        content = super().openapi()
        content.setdefault("components", {})["securitySchemes"] = KEY_HEADERS
        ways: list[dict[str, list[str]]] = [{name: []} for name in KEY_HEADERS]
        needs_key = self.state.captune.settings.api_key_file is not None
        content["security"] = ways if needs_key else [{}, *ways]
        return content


async def _explain(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)
    return error_response(error, request.scope)


async def _explain_http(request: Request, error: Exception) -> JSONResponse:
    """Give the framework's errors the same format as all others."""
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
    answer = error_response(ApiError(error.status_code, code, str(error.detail)), request.scope)
    answer.headers.update(error.headers or {})
    return answer


async def _explain_end(request: Request, _error: Exception) -> JSONResponse:
    """Record that the client left while sending its body; nobody receives this answer."""
    error = ApiError(499, "client_left", "the client closed the connection")
    return error_response(error, request.scope)


async def _explain_fault(request: Request, _error: Exception) -> JSONResponse:
    """Answer a request that ran into a bug in captune, which the log describes."""
    error = ApiError(500, "internal_error", "the server failed; see its log")
    return error_response(error, request.scope)
