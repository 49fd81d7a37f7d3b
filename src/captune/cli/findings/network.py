"""The network lines of `captune doctor`: the hub, Kaggle, and the credentials for them."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator

from captune.cli.findings.finding import Finding
from captune.storage import expand_home

_TIMEOUT_SECONDS = 5.0
"""Time that a server has to answer: enough for a slow connection, short enough to wait for."""

_KAGGLE = "https://www.kaggle.com/api/v1"
_LOCAL_WORK = "captune works without it on local folders and cached files"


def examine_network() -> Iterator[Finding]:
    """Report whether the hub and Kaggle answer, and whether there is a token for each."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        detail = "not tested: HF_HUB_OFFLINE is set; unset it to download from the hub"
        yield Finding("note", "hub", detail)
    else:
        yield _hub(constants.ENDPOINT)
    yield _kaggle()


def _hub(endpoint: str) -> Finding:
    from huggingface_hub import HfApi, get_session, get_token

    from captune.hub import hub_failures

    try:
        answer = get_session().get(
            f"{endpoint}/api/models", params={"limit": 1}, timeout=_TIMEOUT_SECONDS
        )
    except hub_failures() as error:
        detail = f"{endpoint} does not answer ({_reason(error)}): check connection and proxy;"
        return Finding("note", "hub", f"{detail} {_LOCAL_WORK}; HF_HUB_OFFLINE=1 saves the wait")
    if answer.status_code >= 500:
        detail = f"{endpoint} answers {answer.status_code}: try again later"
        return Finding("note", "hub", detail)
    if get_token() is None:
        detail = (
            f"{endpoint} answers; no token: public models only, no push; to log in: hf auth login"
        )
        return Finding("ok", "hub", detail)
    try:
        name = HfApi().whoami().get("name", "?")
    except hub_failures() as error:
        detail = f"{endpoint} answers but rejects the token ({_reason(error)})"
        return Finding("note", "hub", f"{detail}; to log in again: hf auth login")
    return Finding("ok", "hub", f"{endpoint} answers; logged in as {name}")


def _kaggle() -> Finding:
    endpoint = os.environ.get("KAGGLE_API_ENDPOINT", _KAGGLE)
    try:
        with urllib.request.urlopen(endpoint, timeout=_TIMEOUT_SECONDS):
            pass
    except urllib.error.HTTPError:
        pass  # the status does not matter: it answers
    except (OSError, ValueError, http.client.HTTPException) as error:
        detail = f"{endpoint} does not answer ({_reason(error)}): check connection and proxy;"
        return Finding("note", "kaggle", f"{detail} {_LOCAL_WORK}")
    return Finding("ok", "kaggle", f"{endpoint} answers; {_kaggle_credentials()}")


def _kaggle_credentials() -> str:
    if importlib.util.find_spec("kagglehub") is None:
        return "to download from it: pip install 'captune[kaggle]'"
    import kagglehub.config

    try:
        found = kagglehub.config.get_kaggle_credentials()
    except (ValueError, OSError, json.JSONDecodeError) as error:
        return f"the credentials cannot be read: {error}"
    if found is None:
        place = expand_home("~") / ".kaggle" / "kaggle.json"
        return (
            f"no credentials: most public sets need none; for others, put a token file at {place}"
        )
    return "credentials found"


def _reason(error: BaseException) -> str:
    text = str(getattr(error, "reason", None) or error)
    return " ".join(text.split())[:120] or type(error).__name__
