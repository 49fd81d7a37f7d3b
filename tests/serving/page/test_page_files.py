"""The page's files and their headers, without a browser."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from captune.recipe import GenerateConfig
from captune.serving.errors import ApiError
from captune.serving.page.routes import router
from captune.serving.settings import RequestLimits
from support.serving.error_codes import server_codes

STATIC = files("captune.serving.page").joinpath("static")
TEXTS = {file.name: file.read_text(encoding="utf-8") for file in STATIC.iterdir()}


@pytest.fixture(scope="module")
def client() -> TestClient:
    """Return a client of the page's routes alone."""
    app = FastAPI()
    app.include_router(router)
    return TestClient(app)


def test_the_policy_lets_the_page_load_nothing_from_elsewhere(client: TestClient) -> None:
    policy = client.get("/").headers["content-security-policy"].split("; ")
    assert policy[:5] == [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
    ]
    assert "require-trusted-types-for 'script'" in policy
    assert not [rule for rule in policy if "unsafe" in rule or "*" in rule]


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_every_file_is_served_with_its_type(client: TestClient, name: str) -> None:
    answer = client.get("/" if name == "page.html" else f"/page/{name}")
    assert answer.text == TEXTS[name]
    kinds = {
        "html": "text/html",
        "css": "text/css",
        "js": "text/javascript",
        "svg": "image/svg+xml",
    }
    assert answer.headers["content-type"].startswith(kinds[name.rpartition(".")[2]])


@pytest.mark.parametrize(
    "name", ["nothing.js", "..%2froutes.py", "%2e%2e/routes.py", "__init__.py"]
)
def test_only_the_pages_own_files_are_served(client: TestClient, name: str) -> None:
    with pytest.raises(ApiError) as caught:
        if client.get(f"/page/{name}").status_code == 404:
            raise ApiError(404, "not_found", "no route")
    assert caught.value.status == 404


def test_a_browser_with_the_same_file_gets_no_second_copy(client: TestClient) -> None:
    tag = client.get("/page/main.js").headers["etag"]
    again = client.get("/page/main.js", headers={"if-none-match": tag})
    assert (again.status_code, again.content) == (304, b"")


def test_no_file_names_another_server() -> None:
    found = {
        name: re.findall(r"https?://[^\s\"')]+", text)
        for name, text in TEXTS.items()
        if name != "icon.svg"
    }
    assert {name: urls for name, urls in found.items() if urls} == {}


def test_no_script_turns_text_into_html() -> None:
    dangerous = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(")
    assert [name for name, text in TEXTS.items() if dangerous.search(text)] == []


def test_the_page_has_no_inline_script_or_style() -> None:
    html = TEXTS["page.html"]
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=", html) == []


def test_the_fields_of_the_settings_have_the_limits_of_the_server() -> None:
    fields = re.findall(r'type="number" id="([a-z]+)"[^>]* max="(\d+)"', TEXTS["page.html"])
    limits = RequestLimits()
    assert {name: int(most) for name, most in fields} == {
        "beams": limits.beams,
        "temperature": 5,
        "seed": GenerateConfig.model_json_schema()["properties"]["seed"]["maximum"],
        "length": limits.new_tokens,
        "captions": limits.captions,
    }


def test_every_import_and_reference_exists() -> None:
    named = set(re.findall(r"from \"\./([\w.]+)\"", "".join(TEXTS.values())))
    named |= set(re.findall(r"(?:src|href)=\"page/([\w.]+)\"", TEXTS["page.html"]))
    assert named <= set(TEXTS)
    assert set(TEXTS) == named | {"page.html"}


def test_every_id_that_a_script_uses_is_in_the_page() -> None:
    scripts = "".join(text for name, text in TEXTS.items() if name.endswith(".js"))
    used = set(re.findall(r"byId\(\"([\w-]+)\"\)", scripts))
    assert used <= set(re.findall(r"\bid=\"([\w-]+)\"", TEXTS["page.html"]))


_OF_THE_PAGE = {"file_unreadable", "key_cancelled", "unknown", "unreachable"}


def test_the_page_advises_on_every_error_of_the_server_and_on_no_other() -> None:
    table = TEXTS["words.js"].partition("const ADVICE = {")[2].partition("};")[0]
    advised = re.findall(r"^  (\w+):", table, re.MULTILINE)
    codes = server_codes()
    assert {"queue_full", "url_forbidden", "not_found", "no_image", "host_forbidden"} <= codes
    assert advised == sorted(codes | _OF_THE_PAGE)
