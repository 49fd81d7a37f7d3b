"""Check that the hub can be reached, in one quiet attempt; its client makes six per file."""

from __future__ import annotations

import socket
import time
from urllib.parse import urlsplit

_TIMEOUT = 5.0
_REMEMBERED = 60.0
_answers: dict[str, tuple[float, str]] = {}


def why_unreachable() -> str:
    """Return why no connection to the hub can be opened; empty if one can.

    A failure is remembered for a minute, a success until the process ends. Behind a proxy, and
    when the user disabled connections (`HF_HUB_OFFLINE`), nothing is tried.
    """
    # Local models need neither.
    from urllib.request import getproxies

    from huggingface_hub import constants

    try:
        address = urlsplit(constants.ENDPOINT)
        is_url = address.scheme in ("http", "https") and address.hostname and address.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        return f"HF_ENDPOINT is not a URL such as https://huggingface.co: {constants.ENDPOINT!r}"
    if constants.HF_HUB_OFFLINE or getproxies().keys() & {address.scheme, "all"}:
        return ""
    host = address.hostname or ""
    port = address.port or (80 if address.scheme == "http" else 443)
    asked, answer = _answers.get(f"{host}:{port}", (-_REMEMBERED, "never asked"))
    if answer and time.monotonic() - asked >= _REMEMBERED:
        answer = _try(host, port)
        _answers[f"{host}:{port}"] = (time.monotonic(), answer)
    return answer


def _try(host: str, port: int) -> str:
    try:
        socket.create_connection((host, port), timeout=_TIMEOUT).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""
