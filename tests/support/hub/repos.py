"""Content of a hub for tests: repositories with commits, tokens, and faults on purpose."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WRITER, READER, INVALID = "hf_writer", "hf_reader", "hf_invalid"
"""Tokens: the owner's, a read-only one, and an invalid one."""

LFS_SUFFIXES = (".safetensors", ".bin", ".parquet", ".png", ".jpg")


@dataclass
class Repo:
    """A repository, with the full content of each commit.

    Attributes:
        private: Visible with a token only.
        gated: No token has access.
        commits: Hash -> path -> bytes, oldest first.
        messages: Messages of the commits.
    """

    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    @property
    def head(self) -> str:
        return list(self.commits)[-1]

    @property
    def files(self) -> dict[str, bytes]:
        """Files of the newest commit."""
        return self.commits[self.head]

    def commit(self, files: Mapping[str, bytes], message: str = "by hand") -> str:
        """Replace the content, and return the hash of the commit."""
        text = f"{len(self.commits)}{message}{sorted(files)}"
        sha = hashlib.sha1(text.encode()).hexdigest()
        self.commits[sha] = dict(files)
        self.messages.append(message)
        return sha


@dataclass
class HubServer:
    """Content, requests and deliberate faults of a server.

    Attributes:
        url: For HF_ENDPOINT.
        repos: `models/owner/name` or `datasets/owner/name` -> repository.
        blobs: LFS objects by SHA-256.
        chunks: Chunks that xet sent, in order.
        requests: Method and path of every request, with its `Range` if any.
        cuts: Path of a file -> how many more times its body ends half-way.
        refusals: (pattern of `METHOD /path`, status), until removed.
    """

    url: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    chunks: list[bytes] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    cuts: dict[str, int] = field(default_factory=dict)
    refusals: list[tuple[str, int]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, name: str, folder: Path, **settings: bool) -> Repo:
        """Add a repository with a folder's files, as `models/owner/name` or `datasets/...`."""
        repo = self.repos.setdefault(name, Repo(**settings))
        repo.commit(
            {
                path.relative_to(folder).as_posix(): path.read_bytes()
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            }
        )
        return repo

    def environment(self, home: Path, token: str | None = WRITER) -> dict[str, str]:
        """Return the environment of a process that uses this server as the hub."""
        variables = {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_ETAG_TIMEOUT": "30",
            "NO_PROXY": "127.0.0.1",
        }
        return {**variables, **({"HF_TOKEN": token} if token else {})}

    def asked(self, pattern: str) -> list[str]:
        """Return the matching requests."""
        return [line for line in self.requests if re.search(pattern, line)]


def object_id(name: str, content: bytes) -> str:
    """Return the name that git or LFS gives to contents; the hub's etag is the same."""
    if name.endswith(LFS_SUFFIXES):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def tree_entry(name: str, content: bytes) -> dict[str, Any]:
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    entry: dict[str, Any] = {"type": "file", "path": name, "size": len(content), "oid": blob}
    if name.endswith(LFS_SUFFIXES):
        entry["lfs"] = {"oid": object_id(name, content), "size": len(content), "pointerSize": 130}
    return entry
