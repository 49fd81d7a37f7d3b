"""The page of runs in Chromium: sorting, picking, the paired test, keyboard, screens, axe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from captune.data import load_splits
from captune.evaluation import ScoringOptions, compare_systems
from captune.inference import read_predictions
from captune.recipe import GenerateConfig
from captune.runs import search_runs, write_runs_page
from runs.conftest import GOOD, NOUNS, run_maker
from support.places import ROOT
from support.serving.browser import chromium

pytestmark = pytest.mark.slow

_AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
_RUN_AXE = """() => axe.run(document, {resultTypes: ['violations']}).then(({violations}) =>
  violations.filter(({impact}) => impact === 'serious' || impact === 'critical')
    .map(({id, nodes}) => `${id}: ${nodes.map(({target}) => target.join(' ')).join(', ')}`))"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of three scored runs, a damaged one, and a folder of something else."""
    place = tmp_path_factory.mktemp("page")
    make_run = run_maker(place)
    make_run("a good run", GOOD, description="Half of the captions are right.")
    make_run("b poor run", {}, train={"epochs": 9}, generate={"num_beams": 1})
    make_run("c best run", {noun: f"a red {noun} sits on the grass" for noun in NOUNS})
    (make_run("d damaged", GOOD) / "scores.json").write_text("{")
    (place / "runs" / "holiday").mkdir()
    page = place / "runs" / "runs.html"
    write_runs_page(page, search_runs([place / "runs"]), title="runs")
    return page


@pytest.fixture
def open_page(browser: Any, page_file: Path) -> Iterator[Any]:
    """Return a function that opens the page; the test fails if a script failed or loaded a file."""
    contexts, faults = [], []

    def open_it(place: str = "", **settings: Any) -> Any:
        context = browser.new_context(**settings)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda sent: asked.append(sent.url))
        page.goto(page_file.as_uri() + place)
        return page

    asked: list[str] = []
    yield open_it
    for context in contexts:
        context.close()
    assert faults == []
    own = (page_file.as_uri(), "data:")
    assert [url for url in asked if not url.startswith(own)] == []


def first_names(page: Any) -> list[str]:
    rows = page.locator("table.runs tbody tr:visible th")
    return [rows.nth(i).get_attribute("data-value") for i in range(rows.count())]


def test_columns_are_sorted_by_click_and_by_keyboard(open_page: Any) -> None:
    page = open_page()
    page.get_by_role("button", name="CIDEr").click()
    assert first_names(page)[:3] == ["c best run", "a good run", "b poor run"]
    page.get_by_role("button", name="CIDEr").press("Enter")
    assert first_names(page)[:3] == ["b poor run", "a good run", "c best run"]
    # Runs without the score stay last.
    assert set(first_names(page)[3:]) == {"d damaged", "holiday"}
    header = page.locator("th", has=page.get_by_role("button", name="CIDEr"))
    assert header.get_attribute("aria-sort") == "ascending"


def test_the_filter_reads_names_states_and_models(open_page: Any) -> None:
    page = open_page()
    page.get_by_role("searchbox").fill("damaged")
    assert first_names(page) == ["d damaged"]
    assert page.locator("[data-runs-controls] output").inner_text() == "1 run"
    page.get_by_role("searchbox").fill("nothing like it")
    assert page.get_by_text("No run matches.").is_visible()


def test_two_picked_runs_show_the_paired_test_of_captune_compare(
    open_page: Any, page_file: Path
) -> None:
    runs = page_file.parent
    records = load_splits(runs / "a good run")
    options = ScoringOptions(("cider",), "test", GenerateConfig(), 1000, 42)
    systems = {
        name: read_predictions(runs / name / "predictions" / "after.jsonl")
        for name in ("b poor run", "a good run")
    }
    evaluation = compare_systems(records, systems, options=options)
    test = evaluation.test("b poor run", "a good run")["cider"]
    page = open_page()
    page.get_by_label("Compare b poor run").check()
    page.get_by_label("Compare a good run").press("Space")
    row = page.locator("#compare table.scores tr.main")
    shown = " ".join(row.inner_text().split())
    p_value = f"p = {test.p_value:.3f}" if test.p_value < 0.1 else f"p = {test.p_value:.2f}"
    assert f"+{test.delta:.3f}" in shown
    assert f"{p_value} " in shown
    low, high = (f"{end:+.3f}".replace("-", "−") for end in (test.low, test.high))
    assert f"{low} to {high}" in shown
    assert f"{test.wins} better, {test.ties} equal, {test.losses} worse" in shown


def test_recipe_differences_and_captions_are_side_by_side(open_page: Any) -> None:
    page = open_page()
    page.get_by_label("First run").select_option(label="a good run")
    page.get_by_label("Second run").select_option(label="b poor run")
    settings = page.locator("#compare table.settings tbody tr").all_inner_texts()
    assert [line.split("\t") for line in settings] == [
        ["description", "Half of the captions are right.", ""],
        ["generate.num_beams", "3", "1"],
        ["train.epochs", "3", "9"],
    ]
    cards = page.locator("#compare .card")
    assert cards.count() == 8
    first = cards.first.inner_text()
    assert "a man" in first
    assert "sits on the grass" in first
    assert cards.first.locator("img").evaluate("image => image.naturalWidth") > 0


def test_the_choice_is_in_the_address_and_a_third_pick_replaces_the_first(open_page: Any) -> None:
    page = open_page()
    for name in ("a good run", "b poor run", "c best run"):
        page.get_by_label(f"Compare {name}").check()
    heads = page.locator("#compare table.scores thead th").all_inner_texts()
    assert heads[1:3] == ["b poor run", "c best run"]
    assert not page.get_by_label("Compare a good run").is_checked()
    again = open_page(page.evaluate("location.hash"))
    heads = again.locator("#compare table.scores thead th").all_inner_texts()
    assert heads[1:3] == ["b poor run", "c best run"]
    again.get_by_role("button", name="Swap").click()
    heads = again.locator("#compare table.scores thead th").all_inner_texts()
    assert heads[1:3] == ["c best run", "b poor run"]


def test_without_javascript_the_table_is_complete(open_page: Any) -> None:
    page = open_page(java_script_enabled=False)
    assert len(first_names(page)) == 5
    assert page.locator("table.runs svg.spark").count() == 4
    assert page.locator("noscript p").is_visible()
    assert page.locator("input[type=checkbox]:visible").count() == 0
    assert page.get_by_role("link", name="a good run").get_attribute("href").endswith("report.html")


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_no_screen_scrolls_sideways(open_page: Any, width: int) -> None:
    page = open_page("#compare=0,1", viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("#compare .card").count() > 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(open_page: Any, scheme: str) -> None:
    if not _AXE.is_file():
        pytest.skip("no axe-core: npm install --no-save axe-core")
    page = open_page("#compare=0,1", color_scheme=scheme)
    assert page.locator("#compare .card").count() > 0
    page.evaluate(f"() => {{ {_AXE.read_text(encoding='utf-8')} }}")
    assert page.evaluate(_RUN_AXE) == []
