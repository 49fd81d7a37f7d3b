"""The README and docs: their commands exist with these flags, and the cheap ones run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from captune.cli.app import COMMANDS, load_command
from support.runs.documented import save_tiny_model, write_example_folder

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / name
    for name in (
        "README.md",
        "CONTRIBUTING.md",
        "docs/captioning.md",
        "docs/cluster.md",
        "docs/metrics.md",
        "docs/recipes.md",
        "docs/hub.md",
        "docs/performance.md",
    )
]


def code_lines(page: Path, *languages: str) -> list[str]:
    """Return the lines of a page's code blocks, without trailing comments."""
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
def test_every_documented_command_exists_with_its_flags(line: str) -> None:
    command, rest = command_of(words_of(line))
    known = {flag for parameter in command.params for flag in (*parameter.opts, "--help")}
    known |= {flag for parameter in command.params for flag in parameter.secondary_opts}
    used = {word.split("=")[0] for word in rest if word.startswith("--")}
    assert used <= known


def test_the_table_of_commands_lists_each_once() -> None:
    rows = re.findall(r"^\| `captune (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(COMMANDS)


@pytest.mark.parametrize("line", sorted(set(CHEAP)))
def test_the_cheap_commands_run(line: str, tmp_path: Path) -> None:
    # As a module: the console script may be anywhere.
    shell_line = line.replace("captune ", f"{shlex.quote(sys.executable)} -m captune ", 1)
    done = subprocess.run(
        shell_line, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_documented_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = {
        line.split()[1]
        for page in PAGES
        for line in code_lines(page, "sh")
        if line.startswith("make ")
    }
    assert shown
    assert shown <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_local_link_works(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_documented_trainer_script_trains_evaluates_and_saves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import captune
    from captune.data import decode_image

    records = save_tiny_model(tmp_path / "tiny", num_images=16)
    rows = [{"image": decode_image(r.image), "captions": list(r.captions)} for r in records]

    (script,) = [block for block in python_blocks() if "CaptionTrainer(" in block]
    for shown, small in {
        '"Salesforce/blip-image-captioning-base"': repr(str(tmp_path / "tiny")),
        '        "out",\n': '        "out",\n        max_steps=2,\n        use_cpu=True,\n'
        '        report_to="none",\n        disable_tqdm=True,\n',
    }.items():
        assert shown in script
        script = script.replace(shown, small)
    monkeypatch.chdir(tmp_path)
    names = {"train_rows": rows[:12], "val_rows": rows[12:]}
    exec(compile(script, "README.md", "exec"), names)
    trainer = names["trainer"]
    assert trainer.state.global_step == 2
    assert {"eval_cider", "eval_bleu_4", "eval_wer"} <= set(trainer.state.log_history[-2])
    model = captune.load(tmp_path / "out" / "best", device="cpu")
    assert model.caption([rows[0]["image"]], max_new_tokens=4)


def test_the_documented_python_captions_and_runs_recipes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_example_folder(tmp_path)
    (script,) = [block for block in python_blocks() if "captune.run(" in block]
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(script, "README.md", "exec"), names)
    assert names["prediction"].image_id == "other.png"
    assert (tmp_path / names["folder"] / "report.html").is_file()


def python_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGES[0].read_text(), re.DOTALL)


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", ROOT / "docs/recipes.md"], ids=lambda p: p.name
)
def test_links_to_files_and_headings_work(page: Path) -> None:
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
