"""Keyboard, screen readers, dark mode and small screens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.places import ROOT
from support.serving.browser import add, image_files
from support.serving.live_server import LiveServer

pytestmark = pytest.mark.slow

AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
_RUN_AXE = """() => axe.run(document, {resultTypes: ['violations']}).then(({violations}) =>
  violations.filter(({impact}) => impact === 'serious' || impact === 'critical')
    .map(({id, nodes}) => `${id}: ${nodes.map(({target}) => target.join(' ')).join(', ')}`))"""
_COLOURS = """() => getComputedStyle(document.body).backgroundColor.match(/[\\d.]+/g).map(Number)"""


@pytest.fixture(scope="module")
def axe() -> str:
    """Return the source of axe-core."""
    if not AXE.is_file():
        pytest.skip("no axe-core: npm install --no-save axe-core")
    return AXE.read_text(encoding="utf-8")


def serious_findings(page: Any, axe: str) -> list[str]:
    """Return what axe finds serious."""
    page.evaluate(f"() => {{ {axe} }}")
    return page.evaluate(_RUN_AXE)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_cards_and_dialogs(
    open_page: Any, page_server: LiveServer, axe: str, scheme: str
) -> None:
    page = open_page(page_server, color_scheme=scheme)
    page.wait_for_selector("#model option", state="attached")
    assert serious_findings(page, axe) == []
    page.click("#open-settings")
    page.fill("#captions", "2")
    assert serious_findings(page, axe) == []
    page.click("#settings-submit")
    broken = {"name": "bad.jpg", "mimeType": "image/jpeg", "buffer": b"no image"}
    add(page, [*image_files([1, 2]), broken])
    page.locator("textarea.caption").first.fill("my words")
    page.locator(".approve").nth(1).click()
    page.locator(".confidence summary").click()
    page.click("#downloads > summary")
    assert serious_findings(page, axe) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_the_comparison(
    open_page: Any, page_server: LiveServer, axe: str, scheme: str
) -> None:
    page = open_page(page_server, "/#compare", color_scheme=scheme)
    page.wait_for_selector("#model-b option", state="attached")
    page.set_input_files("#files", image_files([1, 2]))
    page.click("#compare-start")
    page.locator("[data-vote=first]").first.click(timeout=30_000)
    assert serious_findings(page, axe) == []
    page.click("#reveal")
    assert serious_findings(page, axe) == []


def test_axe_finds_nothing_serious_in_the_key_dialog(
    open_page: Any, locked_server: LiveServer, axe: str
) -> None:
    page = open_page(locked_server)
    page.wait_for_selector("#key-dialog[open]")
    assert serious_findings(page, axe) == []


@pytest.mark.parametrize("place", ["/", "/#compare"])
def test_a_screen_of_360_pixels_does_not_scroll_sideways(
    open_page: Any, page_server: LiveServer, place: str
) -> None:
    page = open_page(page_server, viewport={"width": 360, "height": 740})
    page.wait_for_selector("#model option", state="attached")
    long = "a-very-long-name-without-any-place-to-break-it-" * 3
    add(page, image_files([1, 2], name=long + "{}.png"))
    page.locator("textarea.caption").first.fill("w" * 200)
    if place != "/":
        page.click("#view-compare")
        page.click("#compare-start")
        page.locator("[data-vote=first]").first.click(timeout=30_000)
        page.click("#reveal")
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_the_page_works_with_the_keyboard_alone(page: Any) -> None:
    page.wait_for_selector("#model option", state="attached")
    reached = []
    for _ in range(8):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.id || document.activeElement.className")
        )
    assert reached[:7] == [
        "skip", "view-caption", "view-compare", "theme", "files", "model", "open-settings",
    ]  # fmt: skip
    page.focus("#open-settings")
    page.keyboard.press("Enter")
    page.wait_for_selector("#settings-dialog[open]")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "open-settings"


def test_cards_are_operated_with_the_keyboard(page: Any) -> None:
    add(page, image_files([1]))
    page.focus("textarea.caption")
    page.keyboard.press("End")
    page.keyboard.type(" at noon")
    assert page.locator("textarea.caption").input_value().endswith(" at noon")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Undo edits"
    page.keyboard.press("Enter")
    assert not page.locator("textarea.caption").input_value().endswith(" at noon")
    assert page.evaluate("document.activeElement.className") == "caption"


def test_a_vote_keeps_the_focus_on_its_button(open_page: Any, page_server: LiveServer) -> None:
    page = open_page(page_server, "/#compare")
    page.wait_for_selector("#model-b option", state="attached")
    page.set_input_files("#files", image_files([1]))
    page.click("#compare-start")
    page.locator("[data-vote=second]").focus(timeout=30_000)
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.dataset.vote") == "second"
    assert page.get_attribute("[data-vote=second]", "aria-pressed") == "true"


def test_the_result_is_announced_to_screen_readers(page: Any) -> None:
    add(page, image_files([1, 2]))
    page.wait_for_selector("#live:has-text('2 images captioned')", state="attached")
    assert page.get_attribute("#live", "aria-live") == "polite"
    assert page.get_by_role("textbox", name="Caption of photo-1.png").count() == 1


def test_dark_mode_follows_the_system_and_a_choice_is_remembered(
    open_page: Any, page_server: LiveServer
) -> None:
    page = open_page(page_server, color_scheme="dark")
    assert max(page.evaluate(_COLOURS)[:3]) < 40
    page.click("#theme")
    assert min(page.evaluate(_COLOURS)[:3]) > 220
    page.reload()
    assert min(page.evaluate(_COLOURS)[:3]) > 220


def test_without_javascript_the_page_explains_what_it_needs(
    open_page: Any, page_server: LiveServer, shots: Path
) -> None:
    page = open_page(page_server, java_script_enabled=False)
    assert "needs JavaScript" in page.inner_text("noscript")
