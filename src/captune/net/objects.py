"""Object storage, `s3://` and `gs://`, through fsspec: images are read, finished files are stored.

Keys, regions and endpoints come from where the storage's own tools look for them: `AWS_*`,
`~/.aws`, `GOOGLE_APPLICATION_CREDENTIALS`, or the role of the machine.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from importlib import import_module
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

from captune.errors import DataError, ImageError, MissingExtraError, OutputError
from captune.storage import open_atomic

_PACKAGES = {"s3": "s3fs", "gs": "gcsfs"}
_SCHEME = re.compile(rf"({'|'.join(_PACKAGES)}):/")
_MAX_BYTES = 256_000_000
"""Maximum size of an image file; larger ones are not photographs."""
_MAGIC = re.compile(r"[*?\[]")
_BLOCK = 1 << 22
# Errors of the storage packages, not all of which are OSErrors.
_ERRORS = (
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("aiohttp", "ClientError"),
    ("gcsfs.retry", "HttpError"),
    ("google.auth.exceptions", "GoogleAuthError"),
)
_LISTED_AS_MISSING = (FileNotFoundError, IsADirectoryError)


def is_object_url(text: str) -> bool:
    """Return whether a text names something in object storage; `//` may have become `/`."""
    return _SCHEME.match(text) is not None


@dataclass(frozen=True, slots=True)
class FoundObject:
    """An object of a listing.

    Attributes:
        url: Its full address.
        size: Its size in bytes.
        mtime_ns: Time when it was written; `None`: unknown.
    """

    url: str
    size: int
    mtime_ns: int | None


@dataclass(frozen=True, slots=True)
class ObjectFetcher:
    """Reads objects whole; safe to use from many threads and processes.

    Attributes:
        max_bytes: Maximum size of an object.
    """

    max_bytes: int = _MAX_BYTES

    def fetch(self, url: str) -> bytes:
        """Return the bytes of an object.

        Raises:
            ImageError: `what` is `missing`, `url_too_large` or `io`.
        """
        store, path = _open_store(url)
        try:
            size = int(store.info(path)["size"] or 0)
            if size > self.max_bytes:
                raise ImageError(
                    "url_too_large", where=f"{url}: more than {self.max_bytes / 1e6:g} MB"
                )
            content: bytes = store.cat_file(path)
        except _LISTED_AS_MISSING as error:
            raise ImageError("missing", where=url) from error
        except _storage_errors() as error:
            raise ImageError("io", where=f"{url}: {_reason(error)}") from error
        return content


def check_storage(url: str) -> None:
    """Check that the package for an address is installed.

    Raises:
        MissingExtraError: It is not.
    """
    scheme = url.partition(":")[0]
    package = _PACKAGES[scheme]
    if find_spec(package) is None:
        raise MissingExtraError(
            f"{scheme}:// needs the package {package}", fix=f"pip install 'captune[{scheme}]'"
        )


def list_objects(url: str, *, suffixes: frozenset[str]) -> Iterator[FoundObject]:
    """Return a stream of the images under a prefix or of a glob; the first is found at once.

    Names come in order, one folder at a time; only one folder's listing is in memory.

    Args:
        url: `s3://bucket/folder`, `s3://bucket/photo.jpg` or `s3://bucket/2024-*/*.jpg`.
        suffixes: Endings of images, in lower case.

    Raises:
        MissingExtraError: A package is not installed.
        DataError: There is nothing at the address, or it cannot be listed.
    """
    store, path = _open_store(url)
    scheme = url.partition(":")[0]
    name = f"{scheme}://{path}"
    magic = _MAGIC.search(path)
    root = path[: path.rfind("/", 0, magic.start())] if magic else path
    found = _walk(store, root, scheme=scheme)
    if magic:
        # As in a shell, * does not match a slash.
        wanted = (
            one
            for one in found
            if one.url.count("/") == name.count("/") and fnmatchcase(one.url, name)
        )
    else:
        wanted = (one for one in found if one.url == name or _ending(one.url) in suffixes)
    first = next(wanted, None)
    if first is None:
        raise DataError(
            f"no images at {url}",
            fix="check the bucket and the prefix with the storage's own tool: aws s3 ls",
        )
    return chain((first,), wanted)


class StoredFile:
    """One file in object storage; a reader sees its old content or all of the new."""

    def __init__(self, url: str) -> None:
        """Open the storage.

        Raises:
            MissingExtraError: Its package is not installed.
        """
        self.url = url
        self._store, self._path = _open_store(url)

    def mark(self) -> str | None:
        """Return what changes whenever the object does; `None`: there is no such object.

        Raises:
            OutputError: The storage cannot be reached.
        """
        with self._explaining("read"):
            try:
                info = self._store.info(self._path)
            except FileNotFoundError:
                return None
        if info["type"] != "file":
            return None
        versions = (info.get(name) for name in ("ETag", "etag", "generation", "LastModified"))
        version = next((one for one in versions if one), "")
        return f"{info.get('size')} bytes, {version}"

    def read_blocks(self) -> Iterator[bytes]:
        """Yield the content.

        Raises:
            OutputError: It cannot be read.
        """
        with self._explaining("read"), self._store.open(self._path, "rb") as file:
            while block := file.read(_BLOCK):
                yield block

    def download(self, path: Path) -> None:
        """Write the object to a file, atomically.

        Raises:
            OutputError: It cannot be read, or the file cannot be written.
        """
        with open_atomic(path) as file:
            file.writelines(self.read_blocks())

    def upload(self, path: Path) -> None:
        """Store a file as the object.

        Raises:
            OutputError: It cannot be stored.
        """
        with self._explaining("write"):
            self._store.put_file(str(path), self._path)

    def check_writable(self) -> None:
        """Store an empty object beside it, and delete that again.

        Raises:
            OutputError: It cannot be stored.
        """
        place = f"{self._path}.captune-test"
        with self._explaining("write"):
            self._store.pipe_file(place, b"")
        with suppress(OutputError), self._explaining("delete"):
            self._store.rm_file(place)

    def delete(self) -> None:
        """Delete the object.

        Raises:
            OutputError: It cannot be deleted.
        """
        with self._explaining("delete"):
            self._store.rm_file(self._path)

    def names_below(self) -> list[str]:
        """Return the names of the objects below the address as a folder; may be empty.

        Raises:
            OutputError: They cannot be listed.
        """
        with self._explaining("list"):
            try:
                found = self._store.ls(self._path, detail=False)
            except FileNotFoundError:
                return []
        return [str(name).rstrip("/").rpartition("/")[2] for name in found]

    @contextmanager
    def _explaining(self, what: str) -> Iterator[None]:
        try:
            yield
        except OutputError:
            # The file on this side cannot be written.
            raise
        except _storage_errors() as error:
            raise OutputError(
                f"cannot {what} {self.url}: {_reason(error)}",
                where="--out",
                fix="check the bucket and your permissions with the storage's own tool, then run"
                " the same command again",
            ) from error


def _walk(store: Any, root: str, *, scheme: str) -> Iterator[FoundObject]:
    try:
        info = store.info(root)
        if info["type"] == "file":
            yield _found(root, info, scheme)
            return
        folders = [root]
        while folders:
            folder = folders.pop()
            entries = sorted(store.ls(folder, detail=True), key=lambda entry: str(entry["name"]))
            for entry in entries:
                if entry["type"] == "file" and entry["name"].rstrip("/") != folder:
                    yield _found(entry["name"], entry, scheme)
            names = [str(entry["name"]) for entry in entries if entry["type"] == "directory"]
            folders += [name for name in reversed(names) if name != folder]
    except _LISTED_AS_MISSING:
        return
    except _storage_errors() as error:
        raise DataError(
            f"cannot list {scheme}://{root}: {_reason(error)}",
            fix="check the name and your permissions with the storage's own tool: aws s3 ls",
        ) from error


def _found(name: str, info: Mapping[str, Any], scheme: str) -> FoundObject:
    written = info.get("LastModified") or info.get("mtime") or info.get("updated")
    is_time = isinstance(written, datetime)
    moment = int(written.timestamp()) * 1_000_000_000 if is_time and written else None
    return FoundObject(f"{scheme}://{name}", int(info.get("size") or 0), moment)


def _ending(url: str) -> str:
    name = url.rpartition("/")[2]
    return f".{name.rpartition('.')[2].lower()}" if "." in name else ""


def _open_store(url: str) -> tuple[Any, str]:
    """Return fsspec's file system of an address, one per process, and the path in it."""
    check_storage(url)
    import fsspec

    scheme, _, path = url.partition(":")
    # Where nobody reads its log, gcsfs would print a traceback beside captune's error.
    if not (log := logging.getLogger("gcsfs")).handlers:
        log.addHandler(logging.NullHandler())
    store = fsspec.filesystem(scheme, use_listings_cache=False)
    return store, path.strip("/")


def _storage_errors() -> tuple[type[Exception], ...]:
    """Return the errors that the packages raise; called only after an error."""
    found: list[type[Exception]] = [OSError, ValueError]
    for module, name in _ERRORS:
        with suppress(ImportError):
            found.append(getattr(import_module(module), name))
    return tuple(found)


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).partition("\n")[0]
