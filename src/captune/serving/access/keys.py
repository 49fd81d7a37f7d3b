"""The keys of a server, in a file that is read again when it changes."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from pathlib import Path

from captune.errors import CHECK_PATH, DataError
from captune.serving.watch.logs import log_event
from captune.storage import find_encoding, refuse_irregular

_MIN_CHARACTERS = 16
_PRINTABLE = re.compile(r"[!-~]+")
_PRINTS_KEY = "python -c 'import secrets; print(secrets.token_urlsafe(32))' prints a key"


class KeyFile:
    """Keys, one per line; empty lines and lines that start with `#` are skipped.

    To change a key without an interruption, add the new one, change the clients, and remove the old
    one. If the file can no longer be read, the keys stay as they are.
    """

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            DataError: It cannot be read or holds no key, or a key is too short or contains
                characters other than printable ASCII.
        """
        self._path = path
        self._seen = self._look()
        self._digests = self._read()

    def accepts(self, key: str) -> bool:
        """Return whether a key is in the file, in a time that reveals nothing about the keys."""
        self._read_again()
        digest = _digest(key)
        # Compare every key, even after one has matched.
        return sum(hmac.compare_digest(digest, known) for known in self._digests) > 0

    def _read_again(self) -> None:
        seen = self._look()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._digests = self._read()
        except DataError as error:
            log_event("keys_not_read", path=error.where or str(self._path), error=error.what)
        else:
            log_event("keys_read", path=str(self._path), keys=len(self._digests))

    def _look(self) -> tuple[int, ...] | None:
        try:
            found = os.stat(self._path)  # noqa: PTH116
        except OSError:
            return None
        # A file that could not be read may become readable without a change of its contents.
        return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino

    def _read(self) -> tuple[bytes, ...]:
        keys = []
        text = self._read_text()
        for number, line in enumerate(text.split("\n"), start=1):
            key = line.strip()
            if not key or key.startswith("#"):
                continue
            if len(key) < _MIN_CHARACTERS or not _PRINTABLE.fullmatch(key):
                raise DataError(
                    f"a key is at least {_MIN_CHARACTERS} ASCII characters without spaces",
                    where=f"{self._path}, line {number}",
                    fix=_PRINTS_KEY,
                )
            keys.append(_digest(key))
        if not keys:
            raise DataError(f"{self._path} holds no key", fix=_PRINTS_KEY)
        return tuple(keys)

    def _read_text(self) -> str:
        try:
            # A pipe can be read only once, and reading it waits for its writer.
            refuse_irregular(self._path, fix="give a text file with a key per line")
            content = self._path.read_bytes()
            return content.decode(find_encoding(content))
        except OSError as error:
            raise DataError(
                f"{self._path} cannot be read: {error.strerror}",
                fix=CHECK_PATH,
            ) from error
        except ValueError as error:
            raise DataError(
                f"{self._path} cannot be read: not UTF-8", fix="save it as UTF-8"
            ) from error


def _digest(key: str) -> bytes:
    # Digests have the same length whatever the length of the key.
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
