"""The pages of the documentation as written: their code blocks, links and headings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from support.places import ROOT

OUTSIDE = ("README.md", "CONTRIBUTING.md", "SECURITY.md")
# The log and the changelog are history: their commands may be of earlier versions.
HISTORY = {"docs/log.md", "CHANGELOG.md"}
ALL_PAGES = [
    *(ROOT / name for name in (*OUTSIDE, "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
PAGES = [page for page in ALL_PAGES if page.relative_to(ROOT).as_posix() not in HISTORY]

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """A code block, with its page and the number of its first line."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        """Return page and line, as the name of a test."""
        return f"{name_of(self.page)}:{self.line}"


def name_of(page: Path) -> str:
    """Return the path inside the repository."""
    return page.relative_to(ROOT).as_posix()


def code_blocks(page: Path, *languages: str) -> list[Block]:
    """Return a page's code blocks in these languages."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, match.start(2)) + 1, match[1], match[2])
        for match in _BLOCK.finditer(text)
        if match[1] in languages
    ]


def code_lines(page: Path, *languages: str) -> list[str]:
    """Return the lines of code blocks, continued ones joined, without trailing comments."""
    joined = "\n".join(block.text for block in code_blocks(page, *languages))
    lines = joined.replace("\\\n", " ").split("\n")
    return [re.sub(r"\s+#.*", "", line).strip() for line in lines]


def prose(page: Path) -> str:
    """Return a page without its code blocks."""
    text = page.read_text(encoding="utf-8")
    return _BLOCK.sub(lambda match: "\n" * match[0].count("\n"), text)


def links(page: Path) -> list[tuple[str, str]]:
    """Return the links of a page to this repository: file (empty: this page) and anchor."""
    plain = re.sub(r"`[^`\n]*`", "", prose(page))
    found = re.findall(r"\]\((?![a-z]+:)([^)#\s]*)(?:#([^)\s]+))?\)", plain)
    return [(target, anchor) for target, anchor in found]


def anchors(page: Path) -> set[str]:
    """Return the anchors that a forge gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-") for text in plain}
