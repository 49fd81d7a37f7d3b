"""The outermost layer of the server: it checks each request, and counts and logs each answer.

It checks host, origin, key, path, encoding, room in the queue and size, in this order, before any
of the body is read.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute
from starlette.types import Message, Receive, Scope, Send

from captune.serving.access.arrivals import Arrival, Arrivals
from captune.serving.access.bodies import ByteBudget, LimitedBody
from captune.serving.access.hosts import HostRules
from captune.serving.access.keys import KeyFile
from captune.serving.errors import ApiError
from captune.serving.settings import RequestLimits
from captune.serving.watch.logs import log_event
from captune.serving.watch.metrics import ServerMetrics

OPEN_PATHS = ("/", "/livez", "/readyz")
OPEN_FOLDER = "/page/"
"""The page's own files; like `OPEN_PATHS` they need no key."""

CAPTION_PATHS = ("/v1/caption", "/v1/chat/completions")
"""The paths whose requests wait for a model."""

_SAFE_HEADERS = (
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
)


class GuardedState(Protocol):
    """The parts of a server's state that the guard uses."""

    @property
    def metrics(self) -> ServerMetrics:
        """Counters of requests and rejections."""

    @property
    def budget(self) -> ByteBudget:
        """Budget of bytes that all bodies share."""

    @property
    def arrivals(self) -> Arrivals:
        """Requests whose images are not known yet."""

    def check_room(self) -> None:
        """Raise an `ApiError` if no model can take another image."""


class Guard:
    """An ASGI application around another one."""

    def __init__(
        self,
        app: Starlette,
        *,
        hosts: HostRules,
        keys: KeyFile | None,
        limits: RequestLimits,
        state: GuardedState,
    ) -> None:
        """Keep the rules; with `keys` `None`, requests need no key."""
        self._app, self._hosts, self._keys = app, hosts, keys
        self._limits, self._state = limits, state

    @property
    def paths(self) -> frozenset[str]:
        """The paths of all routes behind it, also of those that OpenAPI does not list."""
        return frozenset(_find_paths(self._app.routes))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request; answer it with an error or pass it to the application."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        if scope["type"] != "http":
            return
        answer = _Answer(scope, send)
        body = arrival = None
        try:
            headers = Headers(scope=scope)
            self._check(scope, headers)
            arrival = self._admit(scope)
            budget = self._state.budget
            body = LimitedBody(receive, _length(headers), limits=self._limits, budget=budget)
            if arrival is not None:
                await self._state.arrivals.wait_turn()
            await self._app(scope, body.receive, answer.send)
        except ApiError as error:
            if answer.status is None:
                await error_response(error, scope)(scope, receive, answer.send)
        finally:
            if arrival is not None:
                arrival.release()
            if body is not None:
                body.close()
            self._report(answer, scope)

    def _check(self, scope: Scope, headers: Headers) -> None:
        host = headers.get("host")
        if not self._hosts.allow_host(host):
            raise ApiError(
                421, "host_forbidden", "the Host header does not name this server; see --allow-host"
            )
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        # GET is exempt: a link on another site that opens the page is a cross-site request too.
        if scope["method"] not in ("GET", "HEAD") and not self._hosts.allow_origin(
            origin, host=host or "", site=site
        ):
            raise ApiError(403, "origin_forbidden", "pages of other origins may not send requests")
        if self._keys is not None and not _is_open(scope["path"]):
            self._check_key(headers)
        if not scope["path"].isprintable():
            # The router would find `/v1/caption` in a path that has a line end after it.
            raise ApiError(404, "not_found", "no route has this path")
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise ApiError(415, "body_encoded", "send the body without Content-Encoding")

    def _admit(self, scope: Scope) -> Arrival | None:
        """Hold a place for a request for captions; the route exchanges it for its images' places.

        Raises:
            ApiError: 429 or 503: no model has room.
        """
        if scope["method"] != "POST" or scope["path"] not in CAPTION_PATHS:
            return None
        self._state.check_room()
        arrival = scope["captune.arrival"] = self._state.arrivals.admit()
        return arrival

    def _check_key(self, headers: Headers) -> None:
        assert self._keys is not None
        scheme, _, token = headers.get("authorization", "").partition(" ")
        key = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        if not key:
            raise ApiError(401, "key_missing", "send the header Authorization: Bearer KEY")
        if not self._keys.accepts(key):
            raise ApiError(401, "key_wrong", "this key is not valid")

    def _report(self, answer: _Answer, scope: Scope) -> None:
        seconds = time.perf_counter() - answer.began
        found = scope.get("route")
        own: str = scope["path"] if scope["path"] in CAPTION_PATHS else "other"
        route = getattr(found, "path", own)
        status = 499 if answer.status is None else answer.status
        metrics = self._state.metrics
        metrics.observe_request(route, status, seconds=seconds)
        facts: Mapping[str, Any] = scope["captune"]
        if status >= 400:
            metrics.count_rejection(facts.get("code", "other"))
        log_event(
            "request",
            id=answer.request_id,
            method=scope["method"],
            path=scope["path"],
            status=status,
            ms=round(1000 * seconds, 1),
            **facts,
        )


class _Answer:
    """The answer to a request; adds the headers that every answer has."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._send = send
        self.request_id = secrets.token_hex(8)
        self.began = time.perf_counter()
        self.status: int | None = None
        scope["captune"] = {}

    async def send(self, message: Message) -> None:
        """Send a part of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = [*_SAFE_HEADERS, ("x-request-id", self.request_id)]
            present = {name.lower() for name, _ in message["headers"]}
            added = [(n.encode(), v.encode()) for n, v in own if n.encode() not in present]
            message = {**message, "headers": [*message["headers"], *added]}
        await self._send(message)


def error_response(error: ApiError, scope: Scope) -> JSONResponse:
    """Return the answer to a request that fails as a whole."""
    scope.setdefault("captune", {})["code"] = error.code
    headers = {}
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    if error.status == 408:
        headers["connection"] = "close"
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    content = {"schema": 1, "error": {"code": error.code, "message": error.message, "type": kind}}
    return JSONResponse(content, error.status, headers)


def _find_paths(routes: Sequence[BaseRoute]) -> Iterator[str]:
    for route in routes:
        # FastAPI keeps an included router as one route.
        inner = getattr(route, "original_router", None)
        if inner is None:
            yield getattr(route, "path", "/")
        else:
            yield from _find_paths(inner.routes)


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or path.startswith(OPEN_FOLDER)


def _length(headers: Headers) -> int | None:
    text = headers.get("content-length")
    if text is None:
        return None if "transfer-encoding" in headers else 0
    return int(text) if text.isascii() and text.isdigit() else 0
