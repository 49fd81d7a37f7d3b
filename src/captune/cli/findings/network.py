"""What `captune doctor` finds of the network: the hub, Kaggle, and the credentials for them."""

from __future__ import annotations

import importlib.util
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from captune.cli.findings.finding import Finding

_PATIENCE = 5.0
"""Seconds that a server has to answer: longer than a slow line needs, shorter than a yawn."""

_KAGGLE = "https://www.kaggle.com/api/v1"
_LOCAL_WORK = "captune works without it from local folders and what is cached"


def examine_network() -> Iterator[Finding]:
    """Whether the hub and Kaggle answer, and whether there is a token for each."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        detail = "not asked: HF_HUB_OFFLINE is set; unset it to download from the hub"
        yield Finding("note", "hub", detail)
    else:
        yield _hub(constants.ENDPOINT)
    yield _kaggle()


def _hub(endpoint: str) -> Finding:
    from huggingface_hub import HfApi, get_session, get_token

    from captune.hub import hub_failures

    try:
        answer = get_session().get(f"{endpoint}/api/models", params={"limit": 1}, timeout=_PATIENCE)
    except hub_failures() as error:
        detail = f"{endpoint} does not answer ({_reason(error)}): check connection and proxy;"
        return Finding("note", "hub", f"{detail} {_LOCAL_WORK}; HF_HUB_OFFLINE=1 saves the wait")
    if answer.status_code >= 500:
        detail = f"{endpoint} answers {answer.status_code}: try again later"
        return Finding("note", "hub", detail)
    if get_token() is None:
        detail = f"{endpoint} answers; no token: public models only, and no push; hf auth login"
        return Finding("ok", "hub", detail)
    try:
        name = HfApi().whoami().get("name", "?")
    except hub_failures() as error:
        detail = f"{endpoint} answers but refuses the token ({_reason(error)}): hf auth login"
        return Finding("note", "hub", detail)
    return Finding("ok", "hub", f"{endpoint} answers; logged in as {name}")


def _kaggle() -> Finding:
    endpoint = os.environ.get("KAGGLE_API_ENDPOINT", _KAGGLE)
    try:
        with urllib.request.urlopen(endpoint, timeout=_PATIENCE):
            pass
    except urllib.error.HTTPError:
        pass  # whatever it says of this address: it answers
    except (OSError, ValueError) as error:
        detail = f"{endpoint} does not answer ({_reason(error)}): check connection and proxy;"
        return Finding("note", "kaggle", f"{detail} {_LOCAL_WORK}")
    return Finding("ok", "kaggle", f"{endpoint} answers; {_kaggle_credentials()}")


def _kaggle_credentials() -> str:
    if importlib.util.find_spec("kagglehub") is None:
        return "to fetch from it: pip install 'captune[kaggle]'"
    import kagglehub.config

    try:
        found = kagglehub.config.get_kaggle_credentials()
    except (ValueError, OSError, json.JSONDecodeError) as error:
        return f"its credentials cannot be read: {error}"
    if found is None:
        place = Path.home() / ".kaggle" / "kaggle.json"
        return f"no credentials: most public sets need none; else put a token's file at {place}"
    return "credentials found"


def _reason(error: BaseException) -> str:
    said = str(getattr(error, "reason", None) or error)
    return " ".join(said.split())[:120] or type(error).__name__
