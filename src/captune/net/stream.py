"""A long file behind a URL, read once from its start to its end, whatever breaks on the way.

Shards of a data set are gigabytes, and connections that carry gigabytes break. What has come is
kept by the reader; the rest is asked for again, by a range.
"""

from __future__ import annotations

import http.client
import re
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from captune.errors import DataError, ImageError
from captune.net.fetch import UrlFetcher
from captune.net.rules import UrlRules, trust_named_host

_MOST_SILENT_TRIES = 5
_PAUSE_SECONDS = 0.2
# Another try may help against these; another status, or a forbidden place, stays what it is.
_PASSING = ("url_timeout", "url_unreachable")
_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)")


@dataclass(frozen=True, slots=True)
class Silence:
    """Each wait may take so long; all together have no end."""

    seconds: float

    def left(self) -> float:
        """Seconds of the next wait."""
        return self.seconds


class UrlStream:
    """Reads what a URL that the user wrote himself names; use it in a `with` block.

    The host in the URL is trusted, as the user chose it: over http too, and at a private address.
    A redirect to another host must lead to https and the open internet.
    """

    def __init__(self, url: str, *, fetcher: UrlFetcher | None = None) -> None:
        """Asks nothing yet.

        Args:
            url: http or https.
            fetcher: Resolves and connects; its `max_seconds` are the longest silence.

        Raises:
            DataError: The URL cannot be read as one, or holds a user name.
        """
        self._url = url
        fetcher = fetcher or UrlFetcher(UrlRules(max_seconds=30.0))
        try:
            rules = trust_named_host(url, fetcher.rules)
        except ImageError as error:
            raise _explain(error) from error
        self._fetcher = replace(fetcher, rules=rules)
        self._opened = ExitStack()
        self._answer: http.client.HTTPResponse | None = None
        self._version = ""
        self._done = 0
        self._tries = 0

    def __enter__(self) -> Self:
        """Nothing is asked before the first read."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes the connection, with whatever was not read."""
        self._close()

    def read(self, size: int) -> bytes:
        """The next bytes, at most `size`; empty at the end.

        Raises:
            DataError: The host refuses or forbids it, five tries in a row brought nothing, or the
                file changed between them.
        """
        while True:
            try:
                return self._read(size)
            except ImageError as error:
                self._close()
                self._tries += 1
                if error.what not in _PASSING or self._tries > _MOST_SILENT_TRIES:
                    raise _explain(error) from error
                time.sleep(_PAUSE_SECONDS * self._tries)

    def _read(self, size: int) -> bytes:
        answer = self._answer or self._open()
        try:
            piece = answer.read(size)
            if not piece and answer.length:
                # http.client takes a connection that ends early for the end of the file.
                raise ConnectionError(f"it ended {answer.length} bytes early")
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
            raise ImageError("url_unreachable", where=f"{self._url}: {reason}") from error
        self._done += len(piece)
        if piece:
            self._tries = 0
        return piece

    def _open(self) -> http.client.HTTPResponse:
        headers = {"Accept": "*/*"}
        if self._done:
            headers["Range"] = f"bytes={self._done}-"
            if self._version:
                # Another version of the file comes whole, with another status.
                headers["If-Range"] = self._version
        answer = self._opened.enter_context(
            self._fetcher.open(
                self._url,
                waits=Silence(self._fetcher.rules.max_seconds),
                headers=headers,
                status=206 if self._done else 200,
            )
        )
        if self._done:
            found = _RANGE.fullmatch(answer.getheader("Content-Range") or "")
            if found is None or int(found[1]) != self._done:
                raise ImageError("url_status", where=f"{self._url}: not the range that was asked")
        else:
            version = answer.getheader("ETag") or ""
            self._version = "" if version.startswith("W/") else version
        self._answer = answer
        return answer

    def _close(self) -> None:
        self._answer = None
        self._opened.close()


def _explain(error: ImageError) -> DataError:
    return DataError(
        f"cannot read from a URL: {error.where}",
        where="data.path",
        fix=error.fix
        or "check the address and the connection; or fetch the files and give their folder",
    )
