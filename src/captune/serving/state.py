"""State that all routes of a server share."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from fastapi import Request

from captune.net import UrlFetcher
from captune.serving.access.arrivals import Arrivals
from captune.serving.access.bodies import ByteBudget
from captune.serving.engine.engine import Engine
from captune.serving.errors import ApiError
from captune.serving.settings import ServerSettings
from captune.serving.watch.metrics import ServerMetrics


@dataclass(frozen=True, slots=True)
class ServerState:
    """State that all routes share.

    Attributes:
        settings: Settings of the server.
        engines: Engines by model name; the first is the default.
        metrics: Metrics of the server.
        budget: Budget of bytes for all bodies and downloaded images.
        fetcher: Downloads images; `None`: URLs are rejected.
        downloads: Threads that download.
        parsing: The thread that reads large JSON bodies, one at a time: each needs several times
            its size.
        arrivals: Requests whose images are not known yet.
    """

    settings: ServerSettings
    engines: dict[str, Engine]
    metrics: ServerMetrics
    budget: ByteBudget
    fetcher: UrlFetcher | None
    downloads: ThreadPoolExecutor
    parsing: ThreadPoolExecutor
    arrivals: Arrivals

    @property
    def is_ready(self) -> bool:
        """Whether every model can caption, and the server is not shutting down."""
        return all(engine.is_ready and not engine.is_draining for engine in self.engines.values())

    def check_room(self) -> None:
        """Reject a request before its body is read, if no model has room for an image.

        The body may name the model, so a place in any queue is enough.

        Raises:
            ApiError: 429 or 503, the first model's error; see `Engine.check_room`.
        """
        engines = self.engines.values()
        if sum(engine.num_free for engine in engines) <= self.arrivals.count:
            raise next(iter(engines)).refusal()

    def find_engine(self, name: str | None) -> Engine:
        """Return the engine of a model; `None`: the first.

        Raises:
            ApiError: 404: no model has this name.
        """
        if name is None:
            return next(iter(self.engines.values()))
        engine = self.engines.get(name)
        if engine is None:
            known = ", ".join(self.engines)
            raise ApiError(404, "model_not_found", f"no model has this name; models: {known}")
        return engine


def state_of(request: Request) -> ServerState:
    """Return the state of the server that a request reached."""
    state: ServerState = request.app.state.captune
    return state
