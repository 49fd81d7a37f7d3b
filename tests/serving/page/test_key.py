"""The page of a server that needs a key."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.serving.browser import KEY, add, captions, image_files
from support.serving.live_server import LiveServer
from support.serving.pictures import stub_caption

pytestmark = pytest.mark.slow


@pytest.fixture
def locked(open_page: Any, locked_server: LiveServer) -> Any:
    """Return the page, which asks for the key."""
    page = open_page(locked_server)
    page.wait_for_selector("#key-dialog[open]")
    return page


def enter(page: Any, key: str) -> None:
    """Give a key."""
    page.fill("#key-field", key)
    page.click("#key-form button[type=submit]")


def test_the_page_asks_for_the_key_and_sends_it_as_a_header(locked: Any) -> None:
    sent: list[Any] = []
    # playwright marks its listeners, which a built-in method does not allow.
    locked.on("request", lambda request: sent.append(request))  # noqa: PLW0108
    enter(locked, KEY)
    add(locked, image_files([1]))
    assert captions(locked) == [stub_caption(1)]
    calls = [request for request in sent if "/v1/" in request.url]
    assert {request.headers["authorization"] for request in calls} == {f"Bearer {KEY}"}
    assert not [request.url for request in sent if KEY in request.url]


def test_the_key_is_kept_in_this_tab_only(locked: Any) -> None:
    enter(locked, KEY)
    locked.wait_for_selector("#forget-key:visible")
    assert KEY in locked.evaluate("JSON.stringify(sessionStorage)")
    assert KEY not in locked.evaluate("JSON.stringify(localStorage) + document.cookie")


def test_the_description_of_the_api_is_fetched_with_the_key(locked: Any) -> None:
    enter(locked, KEY)
    with locked.expect_download() as started:
        locked.click("#openapi")
    assert "/v1/caption" in json.loads(started.value.path().read_text())["paths"]


def test_a_wrong_key_is_asked_for_again(locked: Any) -> None:
    enter(locked, "wrong")
    locked.wait_for_selector("#key-error:visible")
    assert locked.get_attribute("#key-field", "aria-invalid") == "true"
    enter(locked, KEY)
    locked.wait_for_selector("#model option", state="attached")


def test_a_card_without_a_key_explains_what_to_do(locked: Any) -> None:
    locked.keyboard.press("Escape")
    locked.wait_for_selector("text=The server needs a key.")
    locked.set_input_files("#files", image_files([1]))
    locked.wait_for_selector("#key-dialog[open]")
    locked.keyboard.press("Escape")
    locked.wait_for_selector("[data-status=failed]")
    assert "enter a key" in locked.inner_text(".advice")


def test_a_key_can_be_forgotten(locked: Any) -> None:
    enter(locked, KEY)
    locked.click("#forget-key")
    assert KEY not in locked.evaluate("JSON.stringify(sessionStorage)")
    locked.set_input_files("#files", image_files([1]))
    locked.wait_for_selector("#key-dialog[open]")


def test_the_header_fits_on_a_phone(locked: Any) -> None:
    enter(locked, KEY)
    locked.set_viewport_size({"width": 360, "height": 740})
    locked.wait_for_selector("#forget-key:visible")
    assert locked.evaluate("document.documentElement.scrollWidth") == 360
    assert locked.locator("#theme").bounding_box()["x"] + 36 <= 360
