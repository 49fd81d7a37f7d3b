"""Run a server until a signal ends it; accepted requests are answered first."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import socket
from collections.abc import Generator
from dataclasses import replace
from types import FrameType
from typing import cast

import uvicorn

from captune.errors import CaptuneError, OutputError
from captune.progress import Say
from captune.serving.access.open_files import find_room
from captune.serving.access.protocol import protocol_with
from captune.serving.app import build_app
from captune.serving.settings import ServerSettings
from captune.serving.state import ServerState
from captune.serving.watch.logs import log_event, log_in_background, log_libraries
from captune.stopping import stop_signals

_SECONDS_BETWEEN_LOOKS = 0.2
_SECONDS_AFTER_DEADLINE = 5.0
_BACKLOG = 2048


def run_server(settings: ServerSettings, *, say: Say) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP, then answer all accepted requests and return.

    Args:
        settings: Models, address and limits.
        say: Called with the address once the server listens.

    Raises:
        CaptuneError: A model cannot be loaded, the address is in use, does not belong to this
            machine or requires a key file, or the key file cannot be used.
    """
    log_libraries()
    app, state = build_app(settings)
    connections, backlog = find_room(settings.limits.connections, _BACKLOG)
    limits = replace(settings.limits, connections=connections)
    with _listen(settings) as listener, log_in_background():
        config = uvicorn.Config(
            app,
            http=cast("type[asyncio.Protocol]", protocol_with(limits)),
            ws="none",
            backlog=backlog,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=_longest_request(settings),
        )
        server = _Server(config, state)
        names = ", ".join(state.engines)
        say(f"{names} at {_url(settings, listener)}; Ctrl-C stops")
        try:
            server.run(sockets=[listener])
        finally:
            # A second signal skips the application's shutdown.
            for engine in state.engines.values():
                engine.close()
    if server.load_error is not None:
        raise server.load_error


def _longest_request(settings: ServerSettings) -> int:
    """Return the seconds within which every accepted request is answered."""
    limits = settings.limits
    return math.ceil(limits.body_seconds + settings.deadline + _SECONDS_AFTER_DEADLINE)


def _listen(settings: ServerSettings) -> socket.socket:
    host = settings.host.strip("[]")
    try:
        found = socket.getaddrinfo(host, settings.port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # Clients may connect as soon as the address is printed.
        listener.listen(_BACKLOG)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(
            f"cannot listen on {settings.host}:{settings.port}: {reason}",
            fix="choose another --port (0: a free one) or --host",
        ) from error
    return listener


def _url(settings: ServerSettings, listener: socket.socket) -> str:
    host = settings.host.strip("[]")
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listener.getsockname()[1]}"


class _Server(uvicorn.Server):
    """Drains at a signal and then ends with exit code 0, where uvicorn re-raises the signal."""

    def __init__(self, config: uvicorn.Config, state: ServerState) -> None:
        super().__init__(config)
        self._state = state
        self.load_error: CaptuneError | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Handle signals inside the block, except ignored ones; restore their handlers after it."""
        before = {number: signal.signal(number, self._stop) for number in stop_signals()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def main_loop(self) -> None:
        """Run until a signal arrives or a model fails to load."""
        looking = asyncio.ensure_future(self._look_at_models())
        await super().main_loop()
        looking.cancel()

    async def _look_at_models(self) -> None:
        waiting = dict(self._state.engines)
        while waiting:
            for name, engine in list(waiting.items()):
                if engine.load_error is not None:
                    error = engine.load_error
                    if not isinstance(error, CaptuneError):
                        error = CaptuneError(
                            f"{name} cannot be loaded: {error}",
                            fix="correct the files above, then start the server again",
                        )
                    self.load_error = error
                    self.should_exit = True
                    return
                if engine.has_loaded:
                    del waiting[name]
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        if self.should_exit:
            self.force_exit = True
            return
        for engine in self._state.engines.values():
            engine.is_draining = True
        self.should_exit = True
        log_event("draining")
