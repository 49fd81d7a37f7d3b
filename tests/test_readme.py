"""The README's promises: its commands exist with these flags, and the cheap ones run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from captune.cli.app import COMMANDS, load_command

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / name
    for name in (
        "README.md",
        "CONTRIBUTING.md",
        "docs/metrics.md",
        "docs/recipes.md",
        "docs/hub.md",
    )
]


def code_lines(page: Path, *languages: str) -> list[str]:
    """Lines of a page's code blocks, without trailing comments."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    lines = [
        line for language, text in blocks if language in languages for line in text.split("\n")
    ]
    return [re.sub(r"\s+#.*", "", line).strip() for line in lines]


COMMAND_LINES = [
    line
    for page in PAGES
    for line in code_lines(page, "sh", "console", "")
    if line.startswith("captune ")
]
# No model, no training, no network.
CHEAP = [line for line in COMMAND_LINES if line.split()[1] in ("recipes", "models", "doctor")]


def words_of(line: str) -> list[str]:
    line = re.sub(r"\[(--.*?)\]", r"\1", line)
    words = shlex.split(line)
    return words[1 : words.index(">")] if ">" in words else words[1:]


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    command = load_command(words[0])
    rest = words[1:]
    if getattr(command, "commands", None) and rest:
        return command.commands[rest[0]], rest[1:]
    return command, rest


def test_the_readme_shows_commands() -> None:
    assert len([line for line in COMMAND_LINES if line]) > 10


@pytest.mark.parametrize("line", sorted(set(COMMAND_LINES)))
def test_every_command_shown_exists_with_its_flags(line: str) -> None:
    command, rest = command_of(words_of(line))
    known = {flag for parameter in command.params for flag in (*parameter.opts, "--help")}
    known |= {flag for parameter in command.params for flag in parameter.secondary_opts}
    used = {word.split("=")[0] for word in rest if word.startswith("--")}
    assert used <= known


def test_the_table_of_commands_names_each_once() -> None:
    rows = re.findall(r"^\| `captune (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(COMMANDS)


@pytest.mark.parametrize("line", sorted(set(CHEAP)))
def test_the_cheap_commands_run(line: str, tmp_path: Path) -> None:
    # A path of a module's own: the console script may lie anywhere.
    shell_line = line.replace("captune ", f"{shlex.quote(sys.executable)} -m captune ", 1)
    done = subprocess.run(
        shell_line, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_make_target_shown_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = {
        line.split()[1]
        for page in PAGES
        for line in code_lines(page, "sh")
        if line.startswith("make ")
    }
    assert shown
    assert shown <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_local_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_python_shown_compiles_and_names_what_exists() -> None:
    import captune

    source = "\n".join(
        match for match in re.findall(r"```python\n(.*?)```", PAGES[0].read_text(), re.DOTALL)
    )
    compile(source, "README.md", "exec")
    names = set(re.findall(r"captune\.(\w+)\(", source))
    assert names == {"load", "run"}
    assert names <= set(dir(captune))


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", ROOT / "docs/recipes.md"], ids=lambda p: p.name
)
def test_links_to_files_and_their_headings_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    links = re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]+))?\)", text)
    assert links
    for target, heading in links:
        file = page.parent / target if target else page
        assert file.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
            assert heading in slugs, f"{target}#{heading}"
