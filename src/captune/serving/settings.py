"""Settings of a server: its models, address and limits."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from captune.errors import RecipeError
from captune.inference import RunRequest

_NAME = re.compile(r"[\w.+-]+(/[\w.+-]+)*", re.ASCII)
_LOOPBACK_NAMES = ("localhost", "localhost.")
# Folders of models within a run always have these names; the run's own name is more informative.
_PLAIN_FOLDERS = ("model", "best")


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model and its name in requests.

    Attributes:
        name: Value of `model` in requests.
        request: The model to load; each process replaces its device by one of `devices`.
        devices: Devices; one process per entry.
    """

    name: str
    request: RunRequest
    devices: tuple[str, ...] = ("auto",)


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Limits of each request, and of all requests together; all are maximums.

    Attributes:
        images: Images per request.
        image_bytes: Bytes per encoded image, including images at URLs.
        body_bytes: Bytes per request body.
        all_bytes: Bytes of all request bodies and downloaded images held at once.
        pixels: Width times height of an image.
        new_tokens: `max_new_tokens` of a request.
        beams: `num_beams` of a request.
        captions: `num_captions` of a request.
        prompt_characters: Characters of a prompt.
        header_seconds: Time for the headers of a request.
        body_seconds: Time for the body of a request.
        send_seconds: Time in which a client must read some of an answer that it keeps waiting.
        connections: Open connections.
    """

    images: int = 16
    image_bytes: int = 20_000_000
    body_bytes: int = 64_000_000
    all_bytes: int = 256_000_000
    pixels: int = 50_000_000
    new_tokens: int = 512
    beams: int = 16
    captions: int = 8
    prompt_characters: int = 1000
    header_seconds: float = 10.0
    body_seconds: float = 30.0
    send_seconds: float = 30.0
    connections: int = 1000


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Settings of a server.

    Attributes:
        models: The models; the first is the default.
        host: Name or address to listen on.
        port: Port to listen on; 0: a free one.
        api_key_file: File with one key per line; `None`: no key is needed, which only a loopback
            address allows.
        allow_hosts: Names accepted in `Host` headers, besides the address itself and localhost.
        allow_url_hosts: Hosts from which images are downloaded; empty: images at URLs are rejected.
        max_queue: Maximum number of images waiting per model; more get status 429.
        deadline: Seconds after which a request is answered with status 504.
        warmup: Whether to run each model once before it reports ready.
        max_batch: Maximum number of images per batch.
        limits: Limits of requests.
    """

    models: tuple[ServedModel, ...]
    host: str = "127.0.0.1"
    port: int = 8000
    api_key_file: Path | None = None
    allow_hosts: tuple[str, ...] = ()
    allow_url_hosts: tuple[str, ...] = ()
    max_queue: int = 64
    deadline: float = 60.0
    warmup: bool = False
    max_batch: int = 16
    limits: RequestLimits = RequestLimits()

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        return is_loopback(self.host)

    def check(self) -> None:
        """Check the deadline, and that a server that other machines can reach has a key file.

        Raises:
            RecipeError: It has none, or the deadline is not a number.
        """
        if not math.isfinite(self.deadline):
            raise RecipeError(
                f"{self.deadline} is not a number of seconds",
                where="--deadline",
                fix="give a number, such as 60",
            )
        if self.api_key_file is None and not self.is_loopback:
            raise RecipeError(
                f"other machines can reach {self.host}, and no key protects the server",
                where="--host",
                fix="--api-key-file FILE with one key per line; python -c 'import secrets;"
                " print(secrets.token_urlsafe(32))' prints one",
            )


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a host; of the names, only localhost counts."""
    if host in _LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def name_served_models(words: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return the name and the folder or hub id of each model, from `MODEL` or `NAME=MODEL`.

    Without a name, a model is named after its folder, or after its run for `RUN/model`.

    Raises:
        RecipeError: Two models have the same name, a name contains characters other than letters,
            digits, `.`, `_`, `+`, `-` and `/`, or `MODEL` is neither a folder nor a hub id.
    """
    named: dict[str, str] = {}
    for word in words:
        name, separator, place = word.partition("=")
        # A folder may contain "=".
        if not separator or Path(word).exists():
            name, place = _name_of(word), word
        if name == place and not _NAME.fullmatch(name):
            raise RecipeError(
                f"{place} is neither an existing folder nor a hub id",
                where=word,
                fix="the folder of a model or a run, or OWNER/NAME on the hub",
            )
        if not _NAME.fullmatch(name):
            raise RecipeError(
                f"{name!r} is not a model's name",
                where=word,
                fix="NAME=MODEL, with a name of letters, digits and . _ + - /",
            )
        if name in named:
            raise RecipeError(
                f"two models are called {name!r}: {named[name]} and {place}",
                fix=f"name one of them: {name}-2={place}",
            )
        named[name] = place
    return tuple(named.items())


def _name_of(place: str) -> str:
    path = Path(place)
    if not path.exists():
        return place
    parts = path.absolute().parts
    own = next((part for part in reversed(parts) if part not in _PLAIN_FOLDERS), "model")
    return re.sub(r"[^\w.+-]+", "-", own, flags=re.ASCII).strip("-") or "model"
