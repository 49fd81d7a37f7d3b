"""Why the hub refused, in the user's terms: who may do what, and how to get there.

The clients (transformers, datasets) wrap the hub's answers in errors of their own; what the hub
said is found along the chain of causes.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from captune.suggest import did_you_mean

Kind = Literal["model", "dataset"]


@dataclass(frozen=True, slots=True)
class HubFault:
    """What went wrong between here and the hub.

    Attributes:
        what: The fault, as the end of `cannot load X: ...`.
        fix: What to do about it.
    """

    what: str
    fix: str


def hub_failures() -> tuple[type[Exception], ...]:
    """Return the exceptions that the hub's client raises when a request fails."""
    from huggingface_hub.errors import HfHubHTTPError

    # The hub's own errors derive from those of its HTTP library, whose name changes with its
    # version (httpx, httpx2); a hub that does not answer raises the library's.
    network = next(base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError")
    # ValueError: ids and cards that it does not take. RuntimeError: the xet transfer.
    return (OSError, network, ValueError, RuntimeError)


def find_fault(
    error: BaseException, repo: str, *, kind: Kind = "model", writing: bool = False
) -> HubFault | None:
    """Return the fault behind an error of transformers, datasets or the hub's client.

    Args:
        error: As it was caught, with its causes.
        repo: Hub id that was asked for.
        kind: What it is.
        writing: Whether something was to be pushed to it.

    Returns:
        `None` when the error is not the hub's.
    """
    from huggingface_hub import constants
    from huggingface_hub import errors as hub

    chain = list(_chain(error))
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
    """Return ` (did you mean 'x'?)` with the nearest id in the local hub cache, or nothing."""
    from huggingface_hub.constants import HF_HUB_CACHE

    cache = Path(HF_HUB_CACHE)
    if not cache.is_dir():
        return ""
    prefix = f"{kind}s--"
    cached = [p.name.removeprefix(prefix).replace("--", "/") for p in cache.glob(f"{prefix}*")]
    return did_you_mean(name, [each for each in cached if each != name])


def _chain(error: BaseException) -> Any:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _refused(error: Any, repo: str, *, kind: Kind, writing: bool) -> HubFault:
    """By status, with what the hub itself said where it adds something."""
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", 0)
    said = _server_message(error)
    if status == 401 and _has_token():
        if "credential" in said.lower() or "token" in said.lower() or writing:
            return HubFault(
                f"the hub does not accept your token ({_token_place()})",
                f"make a new one at {_tokens_page()}, then log in with `hf auth login`",
            )
    elif status == 401 and writing:
        return _not_logged_in(writing=True)
    if status in (401, 404):
        return _not_found(repo, kind=kind, writing=writing)
    if status == 403:
        right = f"write to {repo}" if writing else f"read {repo}"
        kind_of_token = "a token with the role `write`" if writing else "a token"
        return HubFault(
            f"your token ({_token_place()}) may not {right}: {said}",
            f"make {kind_of_token} at {_tokens_page()} (a fine-grained one needs the right for"
            " this repository), then log in with `hf auth login`",
        )
    if status == 429 or status >= 500:
        return HubFault(f"the hub is busy or down (status {status}): {said}", "try again later")
    return HubFault(f"the hub answered with status {status}: {said}", "check the id")


def _gated(url: str) -> HubFault:
    if not _has_token():
        return HubFault(
            "it is gated: its owner lets in accounts that asked, and you are not logged in",
            f"accept the conditions at {url}, then log in with `hf auth login` or set HF_TOKEN",
        )
    return HubFault(
        f"it is gated, and the account of your token ({_token_place()}) has not been let in",
        f"accept the conditions at {url}; a fine-grained token also needs the right to read gated"
        " repositories",
    )


def _not_found(repo: str, *, kind: Kind, writing: bool) -> HubFault:
    also = "" if _has_token() else ", or it is private and you are not logged in"
    what = f"there is no {kind} {repo} on the hub{nearest_cached(repo, kind)}{also}"
    if writing:
        return HubFault(what, "check the owner's name: you may push to your own and your teams'")
    fix = "check the id"
    if not _has_token():
        fix += "; for a private one log in with `hf auth login` or set HF_TOKEN"
    return HubFault(what, fix)


def _not_logged_in(*, writing: bool) -> HubFault:
    role = " with the role `write`" if writing else ""
    return HubFault(
        "you are not logged in to the hub",
        f"make a token{role} at {_tokens_page()}, then log in with `hf auth login` or set HF_TOKEN",
    )


def _local_fault(chain: list[BaseException]) -> HubFault | None:
    from huggingface_hub import constants
    from huggingface_hub.errors import OfflineModeIsEnabled

    for each in chain:
        if isinstance(each, OSError) and each.errno == errno.ENOSPC:
            return HubFault(
                f"no space is left for it in {constants.HF_HOME}",
                "make room, or set HF_HOME to a larger disk",
            )
        if isinstance(each, OfflineModeIsEnabled) or constants.HF_HUB_OFFLINE:
            # Asked for by the user: what is missing is the copy in the cache.
            return None
        if type(each).__module__.partition(".")[0] in ("httpx", "httpx2", "httpcore"):
            return no_hub(str(each))
    return None


def no_hub(reason: str) -> HubFault:
    """Return the fault of a hub that does not answer."""
    from huggingface_hub import constants

    return HubFault(
        f"the hub at {constants.ENDPOINT} does not answer: {reason}",
        "check the connection and run it again; files that arrived whole are kept",
    )


def _server_message(error: Any) -> str:
    said = getattr(error, "server_message", None) or str(error)
    return " ".join(str(said).split())[:300]


def _has_token() -> bool:
    from huggingface_hub import get_token

    return get_token() is not None


def _token_place() -> str:
    import os

    from huggingface_hub import constants

    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if os.environ.get(name):
            return f"from {name}"
    return f"from {constants.HF_TOKEN_PATH}"


def _tokens_page() -> str:
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/settings/tokens"
