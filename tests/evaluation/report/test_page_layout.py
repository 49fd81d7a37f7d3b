"""The pages on phones, on paper, in the dark, without JavaScript, and for assistive technology."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest

from support.report_pages import Pages

pytestmark = pytest.mark.slow

KINDS = ["report", "comparison"]
_COLOUR = "() => getComputedStyle(document.body).backgroundColor.match(/[\\d.]+/g).map(Number)"


def open_all(page: Any) -> None:
    """Unfold everything that is folded."""
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")


@pytest.mark.parametrize("width", [390, 768, 1280])
@pytest.mark.parametrize("kind", KINDS)
def test_no_screen_scrolls_sideways_and_no_cell_overflows_with_large_numbers(
    open_page: Any, pages: Pages, kind: str, width: int
) -> None:
    page = open_page(getattr(pages, kind), viewport={"width": width, "height": 800})
    open_all(page)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    found = page.evaluate("""() => {
      for (const text of document.querySelectorAll('td .record-text > *'))
        (text.querySelector('b') ?? text).textContent = '123,456 better';
      const cells = [...document.querySelectorAll('table.scores td')];
      return [cells.length, cells.filter((cell) => cell.scrollWidth > cell.clientWidth + 1).length];
    }""")
    assert found[0] > 10
    assert found[1] == 0


def test_tables_of_two_models_fit_a_small_screen(open_page: Any, pages: Pages) -> None:
    page = open_page(pages.comparison, viewport={"width": 768, "height": 800})
    cut = """() => [...document.querySelectorAll('.scroll')].filter((box) =>
      box.offsetParent && box.scrollWidth > box.clientWidth + 1).map((box) => box.ariaLabel)"""
    assert page.evaluate(cut) == []


def test_the_navigation_of_a_phone_shows_that_it_scrolls(open_page: Any, pages: Pages) -> None:
    page = open_page(pages.report, viewport={"width": 390, "height": 800})
    style = "() => getComputedStyle(document.querySelector('nav')).maskImage"
    assert "gradient" in page.evaluate(style)
    page.evaluate("document.querySelector('#captions').scrollIntoView()")
    box = page.locator("nav").bounding_box()
    assert 0 <= box["y"] < 20


@pytest.mark.parametrize("kind", KINDS)
def test_paper_is_white_complete_and_holds_twelve_images(
    open_page: Any, pages: Pages, kind: str
) -> None:
    # The width of A4 without its margins.
    page = open_page(
        getattr(pages, kind), viewport={"width": 718, "height": 1000}, color_scheme="dark"
    )
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(_COLOUR)[:3] == [255, 255, 255]
    assert page.locator(".gallery .card:visible").count() == 12
    cut = """() => [...document.querySelectorAll('.scroll')].filter((box) =>
      box.offsetParent && box.scrollWidth > box.clientWidth + 1).length"""
    assert page.evaluate(cut) == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 718
    # After a forced break, a line that no longer fits on the first page would be alone on the next.
    forced = """() => [...document.querySelectorAll('main *')].filter((one) =>
      getComputedStyle(one).breakBefore === 'page').length"""
    assert page.evaluate(forced) == 0


def test_the_summary_fits_the_first_page(open_page: Any, pages: Pages) -> None:
    page = open_page(pages.report, viewport={"width": 718, "height": 1000})
    page.emulate_media(media="print")
    # A4 without its margins is 275 mm high.
    assert page.locator("#scores > h3").bounding_box()["y"] < 275 / 25.4 * 96


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", KINDS)
def test_axe_finds_nothing_serious(
    open_page: Any, pages: Pages, serious_findings: Any, kind: str, scheme: str
) -> None:
    page = open_page(getattr(pages, kind), color_scheme=scheme)
    assert serious_findings(page) == []
    open_all(page)
    page.click("[data-vote-start]")
    page.click("[data-vote-result]")
    page.fill("[name=q]", "star")
    page.wait_for_function("() => location.hash.includes('q=')")
    assert serious_findings(page) == []
    page.locator(".gallery .picture").first.click()
    assert serious_findings(page) == []


def test_headings_go_down_one_level_at_a_time(open_page: Any, pages: Pages) -> None:
    for kind in KINDS:
        page = open_page(getattr(pages, kind))
        levels = page.evaluate(
            "() => [...document.querySelectorAll('h1,h2,h3,h4')].map((h) => Number(h.tagName[1]))"
        )
        assert levels[0] == 1
        assert all(b <= a + 1 for a, b in itertools.pairwise(levels))


@pytest.mark.parametrize("kind", KINDS)
def test_without_javascript_the_file_is_complete(open_page: Any, pages: Pages, kind: str) -> None:
    page = open_page(getattr(pages, kind), java_script_enabled=False)
    assert page.locator(".gallery .card").count() == 60
    assert page.locator("#scores table").count() >= 1
    assert page.is_visible("[data-gallery-note]")
    assert not page.is_visible("[data-gallery-controls]")
    assert not page.is_visible("[data-vote]")


def test_the_theme_can_be_switched(open_page: Any, pages: Pages) -> None:
    page = open_page(pages.report, color_scheme="dark")
    assert max(page.evaluate(_COLOUR)[:3]) < 40
    page.click("[data-theme-switch]")
    assert min(page.evaluate(_COLOUR)[:3]) > 220


def test_commands_can_be_copied(open_page: Any, pages: Pages) -> None:
    page = open_page(pages.report)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator(".next .copy-button").first.click()
    page.wait_for_selector(".copy-button:has-text('Copied')")
    text = page.evaluate("() => navigator.clipboard.readText()")
    assert text.startswith("captune run runs/shapes/recipe.yaml --set train.epochs=")


def test_scores_can_be_copied_and_saved_as_a_picture(open_page: Any, pages: Pages) -> None:
    page = open_page(pages.report)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("text=Copy the scores as Markdown")
    page.locator(".copies .copy-button").first.click()
    page.wait_for_selector(".copy-button:has-text('Copied')")
    assert page.evaluate("() => navigator.clipboard.readText()").startswith("| metric")
    with page.expect_download() as download:
        page.click("text=Save as PNG")
    assert download.value.suggested_filename == "scores.png"
    assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")


def test_the_picture_of_the_scores_has_the_intervals_of_folded_metrics_too(
    open_page: Any, pages: Pages
) -> None:
    page = open_page(pages.report)
    folded = page.locator("#scores details.folded table tbody tr").first
    interval = folded.locator("td small").first.text_content().strip()
    assert " to " in interval
    page.evaluate("""() => {
      window.drawn = [];
      const draw = CanvasRenderingContext2D.prototype.fillText;
      CanvasRenderingContext2D.prototype.fillText = function (text, ...rest) {
        window.drawn.push(text);
        draw.call(this, text, ...rest);
      };
    }""")
    page.click("text=Copy the scores as Markdown")
    with page.expect_download():
        page.click("text=Save as PNG")
    drawn = page.evaluate("() => window.drawn")
    assert interval in drawn
    assert any(re.search(r" to \S+, (p [<=] |too small)", text) for text in drawn)
