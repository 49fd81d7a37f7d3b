"""Download from public hosts only, and images only within limits of size and time.

`http.client` runs over a connection opened here: it follows no redirects, reads no proxy settings,
keeps no cookies and decompresses nothing, so that `rules` checks every step.
"""

from __future__ import annotations

import http.client
import io
import queue
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol
from urllib.parse import urljoin

from captune.errors import ImageError
from captune.net.rules import Target, UrlRules, judge_addresses, parse_url

_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_PIECE = 65536
_LONGEST = 4096
_HEADERS = {
    "Accept-Encoding": "identity",
    "Connection": "close",
    "User-Agent": "captune",
}


class Resolve(Protocol):
    """Host and port -> all its addresses within `seconds`, or OSError."""

    def __call__(self, host: str, port: int, *, seconds: float) -> Sequence[str]:
        """Look up the host."""


class Connect(Protocol):
    """Address and port -> a connected socket within `seconds`, or OSError."""

    def __call__(self, address: str, port: int, *, seconds: float) -> socket.socket:
        """Connect to the address, without any lookup."""


def resolve_host(host: str, port: int, *, seconds: float) -> list[str]:
    """Return all addresses of a host, from the system's resolver.

    The resolver has no time limit, so it runs in a thread that may be abandoned.

    Raises:
        OSError: The name does not exist, or there was no answer in time.
    """
    answers: queue.Queue[list[str] | OSError] = queue.Queue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answers.put(list(dict.fromkeys(str(entry[4][0]) for entry in found)))
        except (OSError, UnicodeError) as error:
            answers.put(error if isinstance(error, OSError) else OSError(str(error)))

    threading.Thread(target=ask, name="captune-resolve", daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty as error:
        raise TimeoutError(f"the lookup of {host} took too long") from error
    if isinstance(answer, OSError):
        raise answer
    return answer


def connect_to(address: str, port: int, *, seconds: float) -> socket.socket:
    """Return a TCP connection to an address, which is never looked up again.

    Raises:
        OSError: There was no answer in time, or the connection was refused.
    """
    return socket.create_connection((address, port), timeout=seconds)


class Waits(Protocol):
    """The longest that the next wait may take."""

    def left(self) -> float:
        """Return the seconds left, or raise TimeoutError if there are none."""


@dataclass(frozen=True, slots=True)
class Until:
    """All waits together end at one moment of `time.monotonic`, however slowly bytes arrive."""

    moment: float

    def left(self) -> float:
        """Return the seconds until that moment.

        Raises:
            TimeoutError: The moment has passed.
        """
        seconds = self.moment - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        return seconds


@dataclass(frozen=True)
class UrlFetcher:
    """A downloader of images; safe to use from many threads.

    Attributes:
        rules: Limits and trusted hosts.
        resolve: Looks up addresses.
        connect: Opens connections.
        tls: Checks certificates; `None`: the system's authorities.
    """

    rules: UrlRules = field(default_factory=UrlRules)
    resolve: Resolve = resolve_host
    connect: Connect = connect_to
    tls: ssl.SSLContext | None = None

    def fetch(self, url: str) -> bytes:
        """Return the bytes at a URL; decoding shows whether they are an image.

        Raises:
            ImageError: `what` is one of `url_forbidden`, `url_unreachable`, `url_status`,
                `url_redirects`, `url_too_large`, `url_timeout`, `url_encoded`, `truncated`.
        """
        waits = Until(time.monotonic() + self.rules.max_seconds)
        with self.open(url, waits=waits, headers={"Accept": "image/*"}) as answer:
            return self._read_body(url, answer)

    @contextmanager
    def open(
        self, url: str, *, waits: Waits, headers: Mapping[str, str], status: int = 200
    ) -> Iterator[http.client.HTTPResponse]:
        """Open the response at the end of all redirects, its body not yet read.

        Args:
            url: As the user wrote it.
            waits: The longest that each wait may take: for names, connections and bytes.
            headers: Request headers, in addition to the usual ones.
            status: The status that the response must have.

        Raises:
            ImageError: As for `fetch`; also for failures while the block reads.
        """
        rules, at = self.rules, url
        for _ in range(rules.max_redirects + 1):
            target = parse_url(at, rules)
            with _named(at, rules), self._open(at, target, rules=rules, waits=waits) as connection:
                answer = _ask(connection, target, waits=waits, headers=headers)
                location = _redirect(at, answer)
                if location is None:
                    _require_plain(at, answer, status=status)
                    yield answer
                    return
            # A host is trusted if the user wrote it, not if another host redirects to it.
            own = {target.authority} if rules.trusts(target) else ()
            rules, at = replace(rules, trusted_hosts=frozenset(own)), location
        raise ImageError("url_redirects", where=f"{url}: more than {rules.max_redirects} redirects")

    def _open(self, url: str, target: Target, *, rules: UrlRules, waits: Waits) -> socket.socket:
        addresses = tuple(self.resolve(target.host, target.port, seconds=waits.left()))
        if not addresses:
            raise OSError(f"{target.host} has no address")
        if not rules.trusts(target):
            addresses = judge_addresses(url, addresses)
        connection = self._connect_to_any(addresses, target.port, waits=waits)
        if target.scheme == "http":
            return connection
        try:
            connection.settimeout(waits.left())
            context = self.tls or ssl.create_default_context()
            return context.wrap_socket(connection, server_hostname=target.host)
        except (OSError, ValueError):
            connection.close()
            raise

    def _connect_to_any(
        self, addresses: Sequence[str], port: int, *, waits: Waits
    ) -> socket.socket:
        for place, address in enumerate(addresses):
            try:
                seconds = waits.left() / (len(addresses) - place)
                return self.connect(address, port, seconds=seconds)
            except OSError:
                if address == addresses[-1]:
                    raise
        raise AssertionError("there is at least one address")

    def _read_body(self, url: str, answer: http.client.HTTPResponse) -> bytes:
        most = self.rules.max_bytes
        too_large = ImageError("url_too_large", where=f"{url}: more than {most / 1e6:g} MB")
        if (answer.length or 0) > most:
            raise too_large
        body = io.BytesIO()
        try:
            while piece := answer.read(_PIECE):
                body.write(piece)
                if body.tell() > most:
                    raise too_large
        except http.client.IncompleteRead as error:
            raise ImageError("truncated", where=f"{url}: the response ends early") from error
        if answer.length:
            raise ImageError("truncated", where=f"{url}: {answer.length} bytes are missing")
        return body.getvalue()


class Fetcher(Protocol):
    """Reads the image at a URL, in any thread and in other processes."""

    def fetch(self, url: str) -> bytes:
        """Return its bytes, or raise ImageError."""


@dataclass(frozen=True, slots=True)
class UrlImage:
    """An image that is downloaded when it is needed.

    Attributes:
        url: The image's URL.
        fetcher: Downloads it.
    """

    url: str
    fetcher: Fetcher

    def read(self) -> bytes:
        """Return the encoded image.

        Raises:
            ImageError: See `UrlFetcher.fetch`.
        """
        return self.fetcher.fetch(self.url)


@contextmanager
def _named(url: str, rules: UrlRules) -> Iterator[None]:
    """Turn the errors of sockets and http.client into errors that name the URL."""
    try:
        yield
    except TimeoutError as error:
        raise ImageError(
            "url_timeout", where=f"{url}: more than {rules.max_seconds:g} s"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        reason = str(error) or type(error).__name__
        raise ImageError("url_unreachable", where=f"{url}: {reason}") from error


def _ask(
    connection: socket.socket, target: Target, *, waits: Waits, headers: Mapping[str, str]
) -> http.client.HTTPResponse:
    client = http.client.HTTPConnection(target.host, target.port)
    client.response_class = _StrictResponse
    client.sock = _TimedSocket(connection, waits)
    client.auto_open = 0
    client.request("GET", target.path, headers={**_HEADERS, **headers})
    return client.getresponse()


def _redirect(url: str, answer: http.client.HTTPResponse) -> str | None:
    """Return the URL that a response redirects to; `None` if it does not redirect."""
    if answer.status not in _REDIRECTS:
        return None
    location = answer.getheader("Location") or ""
    if not location:
        raise ImageError("url_status", where=f"{url}: a redirect without a location")
    # Headers are read as Latin-1, but names that are not ASCII are UTF-8 in practice.
    location = location.encode("latin-1").decode("utf-8", "replace")
    try:
        return urljoin(url, location)[:_LONGEST]
    except ValueError:
        # Such as `https://[`.
        raise ImageError(
            "url_forbidden", where=f"{url}: it redirects to what is not a URL"
        ) from None


def _require_plain(url: str, answer: http.client.HTTPResponse, *, status: int) -> None:
    if answer.status != status:
        # Only the number: the reason may be any text, and would reach the terminal.
        raise ImageError("url_status", where=f"{url}: status {answer.status}")
    encoding = (answer.getheader("Content-Encoding") or "identity").lower()
    if encoding != "identity":
        raise ImageError("url_encoded", where=f"{url}: the response is compressed")


class _StrictResponse(http.client.HTTPResponse):
    """A response that refuses negative chunk sizes: -1 means all bytes to the end."""

    def _read_next_chunk_size(self) -> int:
        size: int = super()._read_next_chunk_size()  # type: ignore[misc]
        if size < 0:
            raise http.client.HTTPException("a chunk has a negative size")
        return size


class _TimedSocket:
    """A socket whose waits are limited by `Waits`."""

    def __init__(self, connection: socket.socket, waits: Waits) -> None:
        self._connection, self._waits = connection, waits

    def sendall(self, data: Any) -> None:
        self._connection.settimeout(self._waits.left())
        self._connection.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_TimedReader(self._connection, self._waits))

    def close(self) -> None:
        """Do nothing: http.client closes while it still reads; the connection's owner closes."""


class _TimedReader(io.RawIOBase):
    def __init__(self, connection: socket.socket, waits: Waits) -> None:
        super().__init__()
        self._connection, self._waits = connection, waits

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._connection.settimeout(self._waits.left())
        return self._connection.recv_into(buffer)
