"""Two models side by side, and blind votes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.bulk.stub_captioner import caption_of
from support.serving.browser import KEY, image_files
from support.serving.live_server import LiveServer
from support.serving.pictures import picture, stub_caption

pytestmark = pytest.mark.slow

COUNT = 4


@pytest.fixture
def compared(open_page: Any, page_server: LiveServer) -> Any:
    """Return the page with images captioned by both models."""
    from playwright.sync_api import expect

    page = open_page(page_server, "/#compare")
    page.wait_for_selector("#model-b option[value=two]", state="attached")
    page.set_input_files("#files", image_files(range(COUNT)))
    page.click("#compare-start")
    expect(page.locator(".ballot")).to_have_count(COUNT, timeout=30_000)
    return page


def sides(page: Any, place: int) -> list[str]:
    """Return the two captions of an image, in their order on the page."""
    return page.locator("#pairs > li").nth(place).locator(".caption-text").all_inner_texts()


def vote(page: Any, place: int, choice: str) -> None:
    """Vote for the caption of model `one` or `two`, or for neither."""
    word = "tie"
    if choice != "tie":
        wanted = stub_caption(place) if choice == "one" else second_caption(place)
        word = ("first", "second")[sides(page, place).index(wanted)]
    page.locator("#pairs > li").nth(place).locator(f"[data-vote={word}]").click()


def second_caption(number: int) -> str:
    """Return the caption of the second model."""
    return caption_of(picture(number), seed=1)


def test_both_captions_are_shown_without_names(compared: Any) -> None:
    for place in range(COUNT):
        assert set(sides(compared, place)) == {stub_caption(place), second_caption(place)}
    assert compared.locator("#pairs h4").all_inner_texts() == ["First", "Second"] * COUNT
    assert compared.locator("#pairs [data-side=a], #pairs [data-side=b]").count() == 0


def test_the_result_is_the_win_rate_with_wilsons_interval(compared: Any) -> None:
    for place, choice in enumerate(["one", "one", "two", "one"]):
        vote(compared, place, choice)
    assert "4 of 4 votes cast" in compared.inner_text("#compare-text")
    compared.click("#reveal")
    assert compared.inner_text("#result-rate") == "one 3 : 1 two"
    # By hand: (0.75 + 0.4802) / 1.9604 = 0.6275, plus and minus 0.3269.
    text = compared.inner_text("#result-text")
    assert "75 % (95 % interval 30 % to 95 %)" in text
    # Drawn towards the side of the model's name in the line above.
    assert float(compared.get_attribute("#interval-span", "x")) == pytest.approx(5, abs=1)
    assert float(compared.get_attribute("#interval-span", "width")) == pytest.approx(65, abs=1)
    assert compared.inner_text("#scale-a") == "one always"
    assert "do not tell the models apart" in text


def test_ties_count_for_neither_model(compared: Any) -> None:
    for place, choice in enumerate(["one", "tie", "tie"]):
        vote(compared, place, choice)
    compared.click("#reveal")
    text = compared.inner_text("#result-text")
    assert "one won 1 of 1 decided votes" in text
    assert "2 votes were ties" in text


def test_votes_are_closed_once_the_names_are_shown(compared: Any) -> None:
    vote(compared, 0, "one")
    assert compared.locator("#result").is_hidden()
    compared.click("#reveal")
    assert compared.locator(".ballot").count() == 0
    heads = compared.locator("#pairs > li").first.locator("h4").all_inner_texts()
    assert sorted(heads) == ["A: one", "B: two"]


def test_a_vote_can_be_withdrawn(compared: Any) -> None:
    vote(compared, 0, "one")
    vote(compared, 0, "one")
    assert compared.locator("#reveal").is_hidden()
    assert "0 of 4 votes cast" in compared.inner_text("#compare-text")


def test_votes_are_downloaded_with_the_captions(compared: Any, shots: Path) -> None:
    vote(compared, 0, "two")
    compared.click("#reveal")
    with compared.expect_download() as started:
        compared.click("#download-votes")
    started.value.save_as(shots / "votes.jsonl")
    lines = [json.loads(line) for line in (shots / "votes.jsonl").read_text().splitlines()]
    assert len(lines) == COUNT
    assert lines[0]["vote"] == "b"
    assert (lines[0]["caption_a"], lines[0]["caption_b"]) == (stub_caption(0), second_caption(0))
    assert lines[1]["vote"] is None


def test_without_blind_the_models_are_named_and_there_is_no_vote(compared: Any) -> None:
    compared.uncheck("#blind")
    assert compared.locator("#pairs h4").all_inner_texts() == ["A: one", "B: two"] * COUNT
    assert sides(compared, 0) == [stub_caption(0), second_caption(0)]
    assert compared.locator(".ballot").count() == 0


def test_captions_whose_models_were_named_cannot_be_voted_on(compared: Any) -> None:
    vote(compared, 0, "one")
    compared.uncheck("#blind")
    compared.check("#blind")
    assert compared.locator(".ballot").count() == 0
    text = compared.inner_text("#compare-text")
    assert "1 of 1 vote cast" in text
    assert "3 images had the names shown" in text


def test_choosing_another_model_restarts_the_comparison(compared: Any) -> None:
    vote(compared, 0, "one")
    compared.select_option("#model-a", "two")
    assert compared.locator("#pairs > li").count() == 0
    assert compared.inner_text("#compare-text") == "Choose two different models."


def test_the_interval_is_wilsons(page: Any) -> None:
    script = "([wins, total]) => import('/page/votes.js').then(it => it.wilson(wins, total))"
    # From the closed formula; 0 of 10 and 10 of 10 mirror each other.
    for wins, total, low, high in (
        (14, 20, 0.4810, 0.8545),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
    ):
        found = page.evaluate(script, [wins, total])
        assert (found["low"], found["high"]) == pytest.approx((low, high), abs=5e-5), wins


def test_one_model_cannot_be_compared(open_page: Any, locked_server: LiveServer) -> None:
    page = open_page(locked_server, "/#compare")
    page.fill("#key-field", KEY)
    page.click("#key-form button[type=submit]")
    page.wait_for_selector("text=Start it with two to compare them")
    assert page.locator("#compare-start").is_disabled()
