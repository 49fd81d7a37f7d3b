"""Every page as a forge shows it: links, anchors, settings, error texts, and lists."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from captune.recipe import Recipe
from support.pages import ALL_PAGES, PAGES, anchors, links, name_of, prose
from support.places import ROOT

# Keys of LAVIS, and names of files.
OTHERS = {"model.arch", "model.load_finetuned", "model.vit_grad_ckpt", "model.prompt"}
_FILES = {"train.csv", "train.jsonl"}


@pytest.mark.parametrize("page", ALL_PAGES, ids=name_of)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    broken = []
    for target, anchor in links(page):
        file = page.parent / target if target else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(f"{target}#{anchor}")
    assert broken == []


@pytest.mark.parametrize("page", ALL_PAGES, ids=name_of)
def test_a_list_follows_an_empty_line(page: Path) -> None:
    # Markdown on a forge does not need it; that of the site does.
    lines = prose(page).split("\n")
    is_item = re.compile(r"\s*([-*]|1\.) ")
    faults = [
        f"line {number}: {line}"
        for number, (before, line) in enumerate(pairwise(lines), start=2)
        if is_item.match(line)
        and before.strip()
        and not is_item.match(before)
        and not before.startswith((" ", "#"))
    ]
    assert faults == []


def test_every_setting_in_the_pages_exists() -> None:
    sections = {
        name: set(type(section).model_fields)
        for name in Recipe.model_fields
        if hasattr(section := getattr(Recipe(), name), "model_fields_set")
    }
    assert {"data", "model", "train", "generate", "evaluate"} <= set(sections)
    unknown = [
        f"{name_of(page)}: {section}.{key}"
        for page in PAGES
        for section, key in re.findall(
            rf"(?:`|--set )({'|'.join(sections)})\.([a-z_]+)(?=[`:=. ])", page.read_text()
        )
        if key not in sections[section] and f"{section}.{key}" not in OTHERS | _FILES
    ]
    assert unknown == []


def test_every_error_text_in_troubleshooting_is_one_of_captune() -> None:
    page = (ROOT / "docs" / "guides" / "troubleshooting.md").read_text()
    texts = re.findall(r"^### `([^`]+)`", page, re.MULTILINE)
    assert len(texts) > 20
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    # Messages are split over lines, and have values in braces.
    joined = re.sub(r'"\s*\n\s*f?"', "", sources)
    assert [text for text in texts if text not in joined] == []


def test_the_navigation_lists_every_page() -> None:
    text = (ROOT / "mkdocs.yml").read_text()
    listed = set(re.findall(r"[\w/-]+\.md", text))
    pages = {name_of(page).removeprefix("docs/") for page in ALL_PAGES if "docs" in page.parts}
    assert pages - listed == set()
    notebooks = {f"tutorials/{path.stem}.md" for path in (ROOT / "notebooks").glob("*.ipynb")}
    copied = {f"developers/{name}.md" for name in ("contributing", "security", "changelog")}
    assert listed == pages | notebooks | copied
