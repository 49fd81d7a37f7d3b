"""Kaggle data sets by name, `kaggle://owner/name`, through kagglehub and its cache.

A complete data set in kagglehub's cache is used without the package, credentials or a network;
kagglehub downloads any other.
"""

from __future__ import annotations

import os
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captune.errors import DataError, MissingExtraError
from captune.hub import WITHOUT_HUB
from captune.storage import find_home, read_folder

_PREFIX = "kaggle://"
_VERSION = re.compile(r"\d{1,9}")
_HANDLE = re.compile(r"^(?P<owner>[\w-]+)/(?P<name>[\w-]+)(/versions/(?P<version>\d{1,9}))?/?$")
_REFUSED = (401, 403)


@dataclass(frozen=True, slots=True)
class _Handle:
    owner: str
    name: str
    version: int | None

    def __str__(self) -> str:
        versions = "" if self.version is None else f"/versions/{self.version}"
        return f"{self.owner}/{self.name}{versions}"


def is_kaggle(path: str) -> bool:
    """Return whether a text names a Kaggle data set."""
    return path.startswith(_PREFIX)


def fetch_kaggle(path: str, *, version: str | None = None) -> tuple[Path, str]:
    """Return the local folder of a Kaggle data set; download it if it is not in the cache.

    Args:
        path: `kaggle://owner/name` or `kaggle://owner/name/versions/N`.
        version: The version number when `path` has none; `None`: the newest in the cache, else
            the newest on Kaggle.

    Returns:
        The folder, and a note on where it came from.

    Raises:
        DataError: The name is invalid, or the download is refused or fails.
        MissingExtraError: Nothing is cached and kagglehub is not installed.
    """
    handle = _parse(path, version=version)
    cached = _find_cached(handle)
    if cached is not None:
        note = f"{path}: version {cached.name} from kagglehub's cache, {cached}"
        return cached, note
    folder = _download(handle)
    return folder, f"{path}: fetched by kagglehub into {folder}"


def _parse(path: str, *, version: str | None) -> _Handle:
    match = _HANDLE.match(path.removeprefix(_PREFIX))
    if match is None or (version is not None and not _VERSION.fullmatch(version)):
        raise DataError(
            f"{path!r} with version {version!r} is not a Kaggle data set"
            if match
            else f"{path!r} is not a Kaggle data set",
            fix="write kaggle://owner/name, as in kaggle.com/datasets/owner/name, or"
            " kaggle://owner/name/versions/3",
        )
    number = match["version"] or version
    return _Handle(match["owner"], match["name"], int(number) if number else None)


def kaggle_cache_folder() -> Path:
    """Return the folder of kagglehub's cache."""
    given = read_folder("KAGGLEHUB_CACHE")
    return given or find_home(variable="KAGGLEHUB_CACHE") / ".cache" / "kagglehub"


def _find_cached(handle: _Handle) -> Path | None:
    base = kaggle_cache_folder() / "datasets" / handle.owner / handle.name
    # kagglehub writes the marker last: a folder without one is an incomplete download.
    versions = sorted(int(p.stem) for p in base.glob("*.complete") if p.stem.isdecimal())
    wanted = [number for number in versions if handle.version in (None, number)]
    folders = [base / "versions" / str(number) for number in reversed(wanted)]
    return next((folder for folder in folders if folder.is_dir()), None)


def _download(handle: _Handle) -> Path:
    try:
        import kagglehub
        import kagglehub.exceptions as refusals
    except ImportError as error:
        raise MissingExtraError(
            f"kaggle://{handle} is not in kagglehub's cache ({kaggle_cache_folder()}), and"
            " kagglehub, which downloads it, is not installed",
            fix="pip install 'captune[kaggle]'; or download the zip from"
            f" kaggle.com/datasets/{handle.owner}/{handle.name}, unpack it and give its folder",
        ) from error
    known: tuple[type[Exception], ...] = (
        # The errors of requests are OSErrors; so is a full disk.
        *(OSError, ValueError, RuntimeError, zipfile.BadZipFile),
        *(refusals.UnauthenticatedError, refusals.CredentialError, refusals.BackendError),
        *(refusals.NotFoundError, refusals.DataCorruptionError, refusals.UserCancelledError),
    )
    # kagglehub itself would make a folder `~`.
    os.environ["KAGGLEHUB_CACHE"] = str(kaggle_cache_folder())
    try:
        return Path(kagglehub.dataset_download(str(handle)))
    except known as error:
        raise _explain(error, handle, kagglehub=kagglehub) from error


def _explain(error: Exception, handle: _Handle, *, kagglehub: Any) -> DataError:
    import requests

    from_hand = (
        f"; or download the zip from kaggle.com/datasets/{handle.owner}/{handle.name} by hand,"
        " unpack it and give its folder"
    )
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in _REFUSED or isinstance(error, kagglehub.exceptions.UnauthenticatedError):
        return _explain_refusal(handle, status=status, kagglehub=kagglehub, from_hand=from_hand)
    if status == 404:
        return DataError(
            f"Kaggle has no data set {handle}",
            fix="check owner and name: they are the last two parts of the page's address",
        )
    if isinstance(error, requests.ConnectionError | requests.Timeout):
        return DataError(
            f"cannot reach Kaggle to fetch {handle}",
            where=f"it is not in kagglehub's cache, {kaggle_cache_folder()}",
            fix=f"check the network and try again{from_hand}; {WITHOUT_HUB}",
        )
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return DataError(
        f"fetching kaggle://{handle} failed: {reason}",
        where=f"kagglehub's cache, {kaggle_cache_folder()}",
        fix=f"try again (kagglehub resumes the download){from_hand}",
    )


def _explain_refusal(
    handle: _Handle, *, status: int | None, kagglehub: Any, from_hand: str
) -> DataError:
    code = f" ({status})" if status else ""
    if kagglehub.config.get_kaggle_credentials() is None:
        return DataError(
            f"Kaggle refuses {handle}{code}: no credentials were found",
            fix="create a token at kaggle.com/settings (API) and set KAGGLE_API_TOKEN to it, or put"
            f" it into ~/.kaggle/access_token{from_hand}",
        )
    return DataError(
        f"Kaggle refuses {handle}{code} with the credentials found",
        fix="check the spelling; create a new token at kaggle.com/settings; open the data set's"
        f" page once and accept its terms{from_hand}",
    )
