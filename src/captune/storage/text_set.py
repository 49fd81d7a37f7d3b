"""A set of texts on disk: a million names take a few megabytes of memory.

SQLite keeps it in a temporary file without a name, which goes when the process ends.
"""

from __future__ import annotations

import hashlib
import sqlite3
import weakref

_CACHE_KILOBYTES = 1_000


class TextSet:
    """Texts, stored as hashes of 16 bytes; surrogates of file names are allowed."""

    def __init__(self) -> None:
        """Start empty; the file is made when memory does not hold the set."""
        # A generator that uses the set may run in another thread than the one that made it.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute(f"PRAGMA cache_size = -{_CACHE_KILOBYTES}")
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("CREATE TABLE seen (hash BLOB PRIMARY KEY) WITHOUT ROWID")
        self._database.execute("BEGIN")
        self._size = 0
        # From Python 3.13 on, a connection that nobody has closed is warned about.
        weakref.finalize(self, self._database.close)

    def __len__(self) -> int:
        return self._size

    def __contains__(self, text: str) -> bool:
        if not self._size:
            return False
        query = "SELECT 1 FROM seen WHERE hash = ?"
        return self._database.execute(query, (_hash(text),)).fetchone() is not None

    def add(self, text: str) -> bool:
        """Add a text, and return whether it is new."""
        query = "INSERT OR IGNORE INTO seen VALUES (?)"
        is_new = self._database.execute(query, (_hash(text),)).rowcount == 1
        self._size += is_new
        return is_new

    def close(self) -> None:
        """Free the file."""
        self._database.close()


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
