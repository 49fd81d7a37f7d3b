"""What a user reads when a hub id cannot be loaded, from the real client and a real answer."""

from __future__ import annotations

import pytest

from support.hub.refusals import Asked, collect_refusals
from support.hub.repos import INVALID, READER, HubServer, Repo
from support.hub.server import hub_server

_ASK = """
from transformers import AutoConfig
from captune.hub import load_pretrained

def ask(source, revision):
    more = {"revision": revision} if revision else {}
    return load_pretrained(AutoConfig, source, where="model.checkpoint", **more).model_type
"""


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    home = tmp_path_factory.mktemp("hub-home")
    (home / "hub" / "models--tiny--blip").mkdir(parents=True)
    with hub_server() as hub:
        first = _fill(hub)
        cases = {
            "fine": Asked("tiny/blip"),
            "pinned": Asked("tiny/blip", revision=first),
            "pinned in the id": Asked(f"tiny/blip@{first}"),
            "pinned twice": Asked(f"tiny/blip@{first}", revision="main"),
            "no such revision": Asked("tiny/blip", revision="v9"),
            "misspelt": Asked("tiny/bilp", READER),
            "private": Asked("tiny/private"),
            "gated": Asked("tiny/gated"),
            "gated, not let in": Asked("tiny/gated", READER),
            "invalid token": Asked("tiny/blip2", INVALID),
            "busy": Asked("tiny/busy", READER),
        }
        return collect_refusals(hub, home, ask=_ASK, cases=cases)


def _fill(hub: HubServer) -> str:
    repo = hub.repos["models/tiny/blip"] = Repo()
    first = repo.commit({"config.json": b'{"model_type": "git"}'}, "first")
    repo.commit({"config.json": b'{"model_type": "blip"}'}, "second")
    for name, settings in (("private", {"private": True}), ("gated", {"gated": True})):
        hub.repos[f"models/tiny/{name}"] = Repo(**settings)
        hub.repos[f"models/tiny/{name}"].commit({"config.json": b"{}"})
    hub.repos["models/tiny/blip2"] = repo
    hub.refusals.append(("/tiny/busy", 503))
    return first


@pytest.mark.slow
def test_both_spellings_of_a_revision_reach_the_download(reported) -> None:
    assert reported["fine"] == ("blip", "")
    assert reported["pinned"] == reported["pinned in the id"] == ("git", "")


def test_two_revisions_of_one_model_are_refused(reported) -> None:
    what, fix = reported["pinned twice"]
    assert "and the revision 'main' contradict each other" in what
    assert "tiny/blip@REVISION" in fix


def test_an_unknown_revision_is_reported(reported) -> None:
    what, fix = reported["no such revision"]
    assert what == "cannot load hub id 'tiny/blip': it has no such revision"
    assert "/tiny/blip/commits/main" in fix


def test_a_misspelt_id_names_the_nearest_cached_one(reported) -> None:
    what, _ = reported["misspelt"]
    assert "there is no model tiny/bilp on the hub (did you mean 'tiny/blip'?)" in what


def test_the_error_for_a_private_model_without_a_token_explains_how_to_log_in(reported) -> None:
    what, fix = reported["private"]
    assert what.endswith("or it is private and you are not logged in")
    assert "hf auth login" in fix


def test_the_error_for_a_gated_model_names_the_page_to_request_access(reported) -> None:
    what, fix = reported["gated"]
    assert "it is gated" in what
    assert "you are not logged in" in what
    assert "accept the conditions at http" in fix
    what, fix = reported["gated, not let in"]
    assert "the account of your token (from HF_TOKEN) has no access" in what
    assert "/tiny/gated" in fix


def test_an_invalid_token_is_distinguished_from_a_wrong_id(reported) -> None:
    what, fix = reported["invalid token"]
    assert "the hub does not accept your token (from HF_TOKEN)" in what
    assert "/settings/tokens" in fix


def test_a_hub_that_is_down_is_not_reported_as_a_wrong_id(reported) -> None:
    what, fix = reported["busy"]
    assert "busy or down (status 503)" in what
    assert fix.startswith("try again later")
