"""Explain failures of the hub to the user: what is not allowed, and how to get access.

The clients (transformers, datasets) wrap the hub's answers in their own errors; the hub's own error
is found along the chain of causes.
"""

from __future__ import annotations

import errno
import importlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from captune.errors import error_chain
from captune.suggest import did_you_mean

Kind = Literal["model", "dataset"]

_PROXIES = tuple(
    spelled(f"{kind}_proxy")
    for kind in ("https", "http", "all")
    for spelled in (str.upper, str.lower)
)

WITHOUT_HUB = (
    "without a network, train a small model from scratch on your own images:"
    " captune run demo --set data.path=MY_FOLDER"
)
"""What a user can do at once if neither a model nor a data set can be downloaded."""


@dataclass(frozen=True, slots=True)
class HubFault:
    """A failure of the hub, or of the connection to it.

    Attributes:
        what: The failure, worded to follow `cannot load X: `.
        fix: How to fix it.
        instead: What works without the hub; empty unless it does not answer.
    """

    what: str
    fix: str
    instead: str = ""

    def complete(self, fix: str) -> str:
        """Return a fix, followed by what works without the hub."""
        return f"{fix}; {self.instead}" if self.instead else fix


def hub_failures() -> tuple[type[Exception], ...]:
    """Return the exceptions that the hub's client raises when a request fails."""
    from huggingface_hub.errors import HfHubHTTPError

    # The hub's own errors derive from those of its HTTP library, whose name changes with its
    # version (httpx, httpx2); a hub that does not answer raises the library's.
    network = next(base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError")
    library = importlib.import_module(network.__module__.partition(".")[0])
    # ValueError: invalid ids and cards. RuntimeError: the xet transfer. InvalidURL and ImportError:
    # proxies that are no URL, or need a package.
    return (OSError, network, ValueError, RuntimeError, ImportError, library.InvalidURL)


def find_fault(
    error: BaseException, repo: str, *, kind: Kind = "model", writing: bool = False
) -> HubFault | None:
    """Return the hub's failure behind an error of transformers, datasets or the hub's client.

    Args:
        error: The caught error, with its causes.
        repo: Requested hub id.
        kind: Kind of the repository.
        writing: Whether the request was a push.

    Returns:
        The failure; `None` if the error does not come from the hub.
    """
    from huggingface_hub import constants
    from huggingface_hub import errors as hub

    chain = list(error_chain(error))
    url = f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{repo}"
    for each in chain:
        if isinstance(each, hub.GatedRepoError):
            return _gated(url)
        if isinstance(each, hub.RevisionNotFoundError):
            return HubFault(
                "it has no such revision", f"give a branch, tag or commit of {url}/commits/main"
            )
        if isinstance(each, hub.HfHubHTTPError):
            return _refused(each, repo, kind=kind, writing=writing)
        if isinstance(each, hub.LocalTokenNotFoundError):
            return _not_logged_in(writing=writing)
    return _local_fault(chain)


def nearest_cached(name: str, kind: Kind = "model") -> str:
    """Return ` (did you mean 'x'?)` with the nearest id in the local hub cache; empty: none."""
    from huggingface_hub.constants import HF_HUB_CACHE

    cache = Path(HF_HUB_CACHE)
    if not cache.is_dir():
        return ""
    prefix = f"{kind}s--"
    cached = [p.name.removeprefix(prefix).replace("--", "/") for p in cache.glob(f"{prefix}*")]
    return did_you_mean(name, [each for each in cached if each != name])


def _refused(error: Any, repo: str, *, kind: Kind, writing: bool) -> HubFault:
    """Return the failure for an HTTP status, with the hub's own message if it is useful."""
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", 0)
    message = _server_message(error)
    if status == 401 and _has_token():
        if "credential" in message.lower() or "token" in message.lower() or writing:
            return HubFault(
                f"the hub does not accept your token ({_token_place()})",
                f"create a new one at {_tokens_page()}, then log in with `hf auth login`",
            )
    elif status == 401 and writing:
        return _not_logged_in(writing=True)
    if status in (401, 404):
        return _not_found(repo, kind=kind, writing=writing)
    if status == 403:
        right = f"write to {repo}" if writing else f"read {repo}"
        kind_of_token = "a token with the role `write`" if writing else "a token"
        return HubFault(
            f"your token ({_token_place()}) may not {right}: {message}",
            f"create {kind_of_token} at {_tokens_page()} (a fine-grained one needs permission for"
            " this repository), then log in with `hf auth login`",
        )
    if status == 429 or status >= 500:
        return HubFault(f"the hub is busy or down (status {status}): {message}", "try again later")
    return HubFault(f"the hub answered with status {status}: {message}", "check the id")


def _gated(url: str) -> HubFault:
    if not _has_token():
        return HubFault(
            "it is gated: access must be requested, and you are not logged in",
            f"accept the conditions at {url}, then log in with `hf auth login` or set HF_TOKEN",
        )
    return HubFault(
        f"it is gated, and the account of your token ({_token_place()}) has no access",
        f"accept the conditions at {url}; a fine-grained token also needs permission to read"
        " gated repositories",
    )


def _not_found(repo: str, *, kind: Kind, writing: bool) -> HubFault:
    also = "" if _has_token() else ", or it is private and you are not logged in"
    what = f"there is no {kind} {repo} on the hub{nearest_cached(repo, kind)}{also}"
    if writing:
        return HubFault(
            what, "check the owner's name: you can push to your own account and your organizations"
        )
    fix = "check the id"
    if not _has_token():
        fix += "; for a private one log in with `hf auth login` or set HF_TOKEN"
    return HubFault(what, fix)


def _not_logged_in(*, writing: bool) -> HubFault:
    role = " with the role `write`" if writing else ""
    return HubFault(
        "you are not logged in to the hub",
        f"create a token{role} at {_tokens_page()}, then log in with `hf auth login` or set"
        " HF_TOKEN",
    )


def _local_fault(chain: list[BaseException]) -> HubFault | None:
    from huggingface_hub import constants
    from huggingface_hub.errors import OfflineModeIsEnabled

    for each in chain:
        if isinstance(each, OSError) and each.errno == errno.ENOSPC:
            return HubFault(
                f"the disk of {constants.HF_HOME} is full",
                "free some space, or set HF_HOME to a folder on a larger disk",
            )
        if isinstance(each, OfflineModeIsEnabled) or constants.HF_HUB_OFFLINE:
            # The user disabled connections: the problem is the missing copy in the cache.
            return None
        fault = _proxy_fault(each)
        if fault is not None:
            return fault
        if type(each).__module__.partition(".")[0] in ("httpx", "httpx2", "httpcore"):
            return no_hub(str(each))
    return None


def _proxy_fault(error: BaseException) -> HubFault | None:
    """Return the failure for a proxy of the environment that the client cannot use."""
    names = [name for name in _PROXIES if os.environ.get(name)]
    is_proxy = "proxy" in str(error).lower() and isinstance(error, ValueError | ImportError)
    if not names or not (is_proxy or type(error).__name__ == "InvalidURL"):
        return None
    fix = f"correct or unset {' and '.join(names)}"
    if isinstance(error, ImportError):
        fix = f"pip install 'httpx[socks]'; or {fix}"
    return HubFault(f"the proxy of the environment cannot be used: {error}", fix)


def no_hub(reason: str) -> HubFault:
    """Return the failure of a hub that does not answer."""
    from huggingface_hub import constants

    return HubFault(
        f"the hub at {constants.ENDPOINT} does not answer: {reason}",
        "check the connection and run the command again; complete files are kept",
        WITHOUT_HUB,
    )


def _server_message(error: Any) -> str:
    message = getattr(error, "server_message", None) or str(error)
    return " ".join(str(message).split())[:300]


def _has_token() -> bool:
    from huggingface_hub import get_token

    return get_token() is not None


def _token_place() -> str:
    from huggingface_hub import constants

    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if os.environ.get(name):
            return f"from {name}"
    return f"from {constants.HF_TOKEN_PATH}"


def _tokens_page() -> str:
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/settings/tokens"
