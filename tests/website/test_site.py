"""The documentation site builds without warnings, resolves all links, and works offline."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from captune.cli.commands import COMMANDS
from support.places import ROOT
from support.serving.browser import chromium

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("website") / "site"
    done = subprocess.run(
        [sys.executable, str(ROOT / "website" / "build.py"), "--out", str(out)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in (done.stdout + done.stderr).lower()
    return out


class Page(HTMLParser):
    """The ids, the links, and what a page loads by itself."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if "id" in values:
            self.ids.add(values["id"])
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if "src" in values:
            self.loaded.append(values["src"])
        if tag == "link" and values.get("rel") in ("stylesheet", "icon", "preload"):
            self.loaded.append(values["href"])


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    # 404.html is shown at any address, so its links start at the root of the server.
    # A report inside a tutorial is a page of its own, with tests of its own.
    files = [
        file
        for file in site.rglob("*.html")
        if file.name != "404.html" and not file.parent.name.endswith("_files")
    ]
    return {file: Page(file) for file in files}


def test_every_link_and_anchor_resolves(pages: dict[Path, Page]) -> None:
    assert len(pages) > 40
    broken = []
    for file, page in pages.items():
        for link in {*page.links, *page.loaded}:
            target, _, anchor = unquote(link).partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            place = (file.parent / target).resolve() if target else file
            is_anchor = not anchor or anchor.startswith("__") or anchor in _ids(place, pages)
            if not place.exists() or not is_anchor:
                broken.append(f"{file.name}: {link}")
    assert broken == []


def _ids(place: Path, pages: dict[Path, Page]) -> set[str]:
    return pages[place].ids if place in pages else set()


def test_no_page_loads_anything_from_elsewhere(pages: dict[Path, Page]) -> None:
    found = {link for page in pages.values() for link in page.loaded if "//" in link}
    assert found == set()


def test_no_style_sheet_loads_a_font_or_picture_from_elsewhere(site: Path) -> None:
    sheets = list(site.rglob("*.css"))
    assert sheets
    found = [
        url
        for sheet in sheets
        for url in re.findall(r"(?:url\(|@import )[\"']?(https?:[^)\"']+)", sheet.read_text())
    ]
    assert found == []


def test_the_reference_lists_every_command_setting_and_name(site: Path) -> None:
    commands = (site / "reference" / "command-line.html").read_text()
    assert [name for name in COMMANDS if f"captune {name}" not in commands] == []
    assert "--num-beams" in commands
    recipe = (site / "reference" / "recipe.html").read_text()
    assert {"train.learning_rate", "data.split_fractions.test"} <= set(
        re.findall(r"<code>([\w.]+)</code>", recipe)
    )
    assert "captune.caption_library" in (site / "reference" / "python.html").read_text()
    assert "<!-- generated" not in commands + recipe


def test_no_page_contains_a_path_of_this_machine(site: Path) -> None:
    folders = {str(Path.home()), str(ROOT), str(ROOT.resolve())}
    found = [
        file.name
        for file in site.rglob("*.html")
        if any(f"{folder}/" in file.read_text(encoding="utf-8") for folder in folders)
    ]
    assert found == []


def test_search_works_in_a_site_that_is_opened_from_a_folder(site: Path) -> None:
    with chromium() as browser:
        page = browser.new_page()
        outside: list[str] = []
        page.on("request", lambda sent: outside.append(sent.url) if "//" in sent.url else None)
        page.goto((site / "index.html").as_uri())
        page.keyboard.press("/")
        page.keyboard.type("no known data set format", delay=20)
        found = page.get_by_text("Troubleshooting").last
        found.wait_for(timeout=10_000)
        assert [url for url in outside if not url.startswith(("file:", "data:", "blob:"))] == []
