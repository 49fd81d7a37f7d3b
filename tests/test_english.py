"""The words of the house: phrases that a native reader would trip over stay out of the tree."""

from __future__ import annotations

import re
import subprocess

import pytest

from support.places import ROOT

# The log is history, and this file names what it forbids.
SKIPPED = {"docs/log.md", "tests/test_english.py"}
SUFFIXES = (".py", ".md", ".yaml", ".yml", ".html", ".js", ".css", ".toml", ".ipynb", "Makefile")

COUNTED = "images|words|rows|tokens|lines|files|seconds|beams|batches|values|threads"
UNITS = "step|second|caption|image|row|epoch|batch|process|device|rank|file|line|split|minute|run"

THINGS = "number|zip|image|folder|model|list|text|directory|metric|split|recipe"

# Each phrase with what to write instead.
FORBIDDEN = {
    rf"\b({COUNTED}) an? ({UNITS})\b": "per",
    rf"(?<!there )(?<!why there )\bis no ({THINGS})\b": "is not a",
    r"\b(is|are|was|were) told\b": "is reported",
    r"\b(is|are|was|were|be) said\b": "is reported, printed, named",
    r"\btells? (what|how|which|whether|apart|it|them|by)\b": "reports, shows",
    r"\b(goes|go|went|going) on\b": "resume, continue",
    r"\b(write|writes|written|writing|wrote) over\b": "overwrite",
    r"\b(mend|mends|mended)\b": "fix",
    r"\banew\b": "again, re-",
    r"\b(written|writes?|kept|writing) aside\b": "to a temporary file",
    r"\bappears? whole\b": "is written atomically",
    r"\b(comes?|goes) first\b": "takes precedence",
    r"\b(can|could)(not| not) be had\b": "is not supported, not available",
    r"\bdoes not do\b(?! (so|this|that|it))": "is invalid, not supported",
    r"\bleft out\b": "skipped, omitted",
    r"\btakes lines\b": "called with each progress message",
    r"\bfor people\b": "readable",
    r"\b(lies|lie) (in|at|beside|there|on|behind|between)\b": "is, is stored",
    r"\bstands? (in|at|beside|there|on)\b": "is",
    r"\bdo:    ": "fix:",
    r"\bblanks\b": "spaces, white space",
    r"\btakes? no loss\b": "is excluded from the loss",
    r"\bnobody (asks|asked|wants)\b": "not requested, not needed",
}


def tracked_files() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [
        name
        for name in listed.stdout.splitlines()
        if name.endswith(SUFFIXES) and name not in SKIPPED
    ]


def find_forbidden(text: str) -> list[str]:
    """Each forbidden phrase of a text, with its line and what to write instead."""
    return [
        f"line {text.count(chr(10), 0, match.start()) + 1}: {match[0]!r} (write: {better})"
        for phrase, better in FORBIDDEN.items()
        for match in re.finditer(phrase, text, re.IGNORECASE)
    ]


def test_a_forbidden_phrase_is_found_with_its_line() -> None:
    found = find_forbidden("Fine.\nIt takes 16 images a step.")
    assert found == ["line 2: 'images a step' (write: per)"]


@pytest.mark.parametrize(
    "text", ["It captions an image.", "This does not do so.", "the first goes before the second"]
)
def test_plain_english_passes(text: str) -> None:
    assert find_forbidden(text) == []


def test_the_tree_is_written_in_plain_english() -> None:
    files = tracked_files()
    assert len(files) > 300
    found = {
        name: faults
        for name in files
        if (faults := find_forbidden((ROOT / name).read_text(encoding="utf-8")))
    }
    listing = "\n".join(f"{name}, {fault}" for name, faults in found.items() for fault in faults)
    assert not found, listing
