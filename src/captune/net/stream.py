"""A long file at a URL, read once from start to end, even if connections break.

Shards of a data set have gigabytes, and connections that carry gigabytes break. The reader keeps
what has arrived; a range request asks for the rest.
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

_MAX_SILENT_TRIES = 5
_PAUSE_SECONDS = 0.2
# Worth another try; another status or a forbidden URL is not.
_PASSING = ("url_timeout", "url_unreachable")
_RANGE = re.compile(r"bytes (\d{1,18})-\d+/(?:\d+|\*)")


@dataclass(frozen=True, slots=True)
class Silence:
    """A limit for each wait; all together may take any time."""

    seconds: float

    def left(self) -> float:
        """Return the seconds that the next wait may take."""
        return self.seconds


class UrlStream:
    """A file at a URL that the user wrote; use it in a `with` block.

    The host in the URL is trusted, because the user chose it: over http and at a private address
    too. A redirect to another host must lead to https and the public internet.
    """

    def __init__(self, url: str, *, fetcher: UrlFetcher | None = None) -> None:
        """Check the URL; nothing is requested before the first read.

        Args:
            url: http or https.
            fetcher: Resolves and connects; its `max_seconds` limit each wait.

        Raises:
            DataError: The URL is not valid, or contains a user name.
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
        """Return the stream itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection."""
        self._close()

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most `size`; empty at the end.

        Raises:
            DataError: The host refuses, five tries in a row brought no bytes, or the file changed
                between tries.
        """
        while True:
            try:
                return self._read(size)
            except ImageError as error:
                self._close()
                self._tries += 1
                if error.what not in _PASSING or self._tries > _MAX_SILENT_TRIES:
                    raise _explain(error) from error
                time.sleep(_PAUSE_SECONDS * self._tries)

    def _read(self, size: int) -> bytes:
        answer = self._answer or self._open()
        try:
            piece = answer.read(size)
            if not piece and answer.length:
                # http.client treats a connection that ends early as the end of the file.
                raise ConnectionError(f"the connection ended {answer.length} bytes early")
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
                # A changed file is sent in full, with another status.
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
                raise ImageError("url_status", where=f"{self._url}: not the requested range")
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
        or "check the URL and the connection; or download the files and give their folder",
    )
