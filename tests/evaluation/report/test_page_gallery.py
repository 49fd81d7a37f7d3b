"""The gallery in a browser: finding, sorting, all images, large pictures, the blind test."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from support.report_pages import NUM_IMAGES, Pages

pytestmark = pytest.mark.slow


def names(page: Any) -> list[str]:
    found: list[str] = page.locator(".gallery .card:visible .file").all_inner_texts()
    return found


def count(page: Any) -> str:
    found: str = page.inner_text("[data-gallery-controls] output")
    return found


def find(page: Any, query: str, scope: str = "1") -> None:
    page.select_option("[name=in]", scope)
    page.fill("[name=q]", query)
    page.keyboard.press("Enter")
    page.wait_for_function("() => location.hash.includes('q=')")
    page.wait_for_function(
        "() => !document.querySelector('output').textContent.includes('in this file')"
    )


def test_a_query_finds_whole_words_in_one_caption(open_page: Any, pages: Pages) -> None:
    page = open_page(pages.report)
    # 26 images are blue, 3 of them are called purple.
    find(page, "blue")
    assert count(page) == "26 images"
    # Every caption from before says "bluebird".
    find(page, "blue", "0")
    assert count(page) == "0 images"
    assert page.is_visible("[data-gallery-empty]")


def test_words_must_occur_together_and_phrases_side_by_side(open_page: Any, pages: Pages) -> None:
    page = open_page(pages.report)
    find(page, "star blue")
    together = names(page)
    assert together
    assert all(int(name[-7:-4]) % 35 == 21 for name in together)
    find(page, '"star blue"')
    assert count(page) == "0 images"
    find(page, '"blue star"')
    assert names(page) == together


def test_the_human_captions_and_file_names_can_be_searched(open_page: Any, pages: Pages) -> None:
    page = open_page(pages.report)
    find(page, "bluebird", "human")
    assert count(page) == "0 images"
    find(page, "shape-01", "file")
    assert count(page) == "10 images"


def test_hits_are_highlighted(open_page: Any, pages: Pages) -> None:
    page = open_page(pages.report)
    find(page, '"blue star"')
    hits = page.evaluate("() => [...CSS.highlights.get('hit')].map(String)")
    assert hits == ["blue star"] * len(names(page))


def test_the_address_holds_the_state(open_page: Any, pages: Pages) -> None:
    page = open_page(pages.report, "#gallery?q=blue+star&in=1&sort=place%3Aup")
    page.wait_for_function("() => document.querySelector('[name=q]').value === 'blue star'")
    page.wait_for_function("() => document.querySelector('output').textContent === '4 images'")
    assert names(page) == [f"images/shape-{n:03}.png" for n in (21, 56, 91, 126)]
    page.fill("[name=q]", "")
    page.keyboard.press("Enter")
    page.wait_for_function("() => !location.hash.includes('q=')")


def test_all_images_are_shown_on_demand_and_as_the_reader_scrolls(
    open_page: Any, pages: Pages
) -> None:
    page = open_page(pages.report)
    assert page.locator(".gallery .card").count() == 60
    page.click("[data-gallery-more] button")
    page.wait_for_function("() => document.querySelector('output').textContent === '130 images'")
    for _ in range(30):
        if page.locator(".gallery .card").count() == NUM_IMAGES:
            break
        page.mouse.wheel(0, 4000)
        page.wait_for_timeout(100)
    assert page.locator(".gallery .card").count() == NUM_IMAGES
    # Those that were passed too quickly to be seen are not loaded.
    loaded = """() => [...document.querySelectorAll('.gallery img')].filter((image) => {
      const { top, bottom } = image.getBoundingClientRect();
      return bottom > 0 && top < innerHeight;
    }).every((image) => image.naturalWidth > 0)"""
    page.wait_for_function(loaded)


def test_without_its_folder_the_file_says_what_is_missing(
    open_page: Any, pages: Pages, tmp_path: Path
) -> None:
    shutil.copy(pages.report, tmp_path / "alone.html")
    page = open_page(tmp_path / "alone.html")
    assert page.locator(".gallery .card").count() == 60
    page.click("[data-gallery-more] button")
    page.wait_for_selector("text=The folder report_files is not beside this page")
    assert count(page) == "60 of 60 images in this file"


def test_a_number_of_mistakes_leads_to_its_images(open_page: Any, pages: Pages) -> None:
    page = open_page(pages.report)
    page.click("#mistakes tr:has-text('Wrong colour') td:nth-of-type(2) a")
    page.wait_for_function("() => document.querySelector('output').textContent === '13 images'")
    assert "group=colour" in page.url
    assert all("colour: “purple”" in text for text in page.locator(".found").all_inner_texts())


def test_a_bar_of_a_chart_leads_to_its_images(open_page: Any, pages: Pages) -> None:
    page = open_page(pages.report)
    chart = page.locator("figure:has-text('Length') svg")
    chart.focus()
    page.keyboard.press("ArrowRight")
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_selector(".chip")
    assert page.inner_text(".chip").startswith("words: 6")
    page.click(".chip")
    page.wait_for_function("() => document.querySelector('output').textContent === '130 images'")


def test_large_pictures_follow_the_arrow_keys(open_page: Any, pages: Pages) -> None:
    page = open_page(pages.report)
    page.locator(".gallery .picture").first.focus()
    page.keyboard.press("Enter")
    assert page.inner_text(".lightbox .position") == "1 of 60"
    first = page.inner_text(".lightbox .file")
    page.keyboard.press("ArrowRight")
    assert page.inner_text(".lightbox .position") == "2 of 60"
    assert page.inner_text(".lightbox .file") != first
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert page.inner_text(".lightbox .position") == "60 of 60"
    page.keyboard.press("Escape")
    assert not page.locator(".lightbox").is_visible()


def test_each_of_the_three_images_at_the_top_opens_large_without_the_folder(
    open_page: Any, pages: Pages, tmp_path: Path
) -> None:
    shutil.copy(pages.report, tmp_path / "report.html")
    page = open_page(tmp_path / "report.html")
    for place in range(3):
        hero = page.locator(".hero").nth(place)
        human = hero.locator(".hero-human bdi").inner_text()
        hero.locator(".picture").click()
        assert page.locator(".lightbox .references li").first.inner_text() == human
        page.wait_for_function("() => document.querySelector('.lightbox img').naturalWidth > 0")
        page.keyboard.press("Escape")


@pytest.mark.parametrize("kind", ["report", "comparison"])
def test_the_blind_test_hides_names_counts_votes_and_exports_them(
    open_page: Any, pages: Pages, kind: str
) -> None:
    page = open_page(getattr(pages, kind))
    page.click("[data-vote-start]")
    page.wait_for_selector(".booth")
    words = page.inner_text(".booth")
    assert not any(name in words for name in ("Before", "After", "first", "second"))
    page.keyboard.press("1")
    page.keyboard.press("2")
    page.keyboard.press("0")
    page.keyboard.press("1")
    page.click("[data-vote-undo]")
    assert page.inner_text(".count").startswith("3 votes")
    page.click("[data-vote-result]")
    with page.expect_download() as download:
        page.click("text=Export the votes")
    votes = json.loads(Path(download.value.path()).read_text())
    assert len(votes["votes"]) == 3
    assert votes["votes"][2]["better"] is None
    for system in votes["systems"]:
        assert system["votes"] == 3
        assert system["won"] + system["lost"] + system["ties"] == 3
        assert 0 <= system["interval"][0] <= system["winRate"] <= system["interval"][1] <= 1


def test_hostile_names_are_text_in_cards_made_by_the_script(open_page: Any, pages: Pages) -> None:
    page = open_page(pages.comparison)
    page.click("[data-gallery-more] button")
    page.wait_for_function("() => document.querySelector('output').textContent === '130 images'")
    assert page.locator(".gallery .said h3 bdi", has_text="models/<first>").count() >= 60
    assert page.locator(".gallery first").count() == 0
