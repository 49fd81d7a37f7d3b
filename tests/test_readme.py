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
from support.pages import PAGES, Block, code_blocks, code_lines
from support.places import ROOT
from support.runs.documented import save_tiny_model

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
    page = (ROOT / "docs" / "reference" / "command-line.md").read_text()
    rows = re.findall(r"^\| `captune (\w+)", page, re.MULTILINE)
    assert sorted(rows) == sorted(COMMANDS)


@pytest.mark.slow
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


def test_the_documented_trainer_script_trains_evaluates_and_saves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import captune
    from captune.data import decode_image

    records = save_tiny_model(tmp_path / "tiny", num_images=16)
    rows = [{"image": decode_image(r.image), "captions": list(r.captions)} for r in records]

    page = ROOT / "docs" / "guides" / "coming-from.md"
    (script,) = [b.text for b in code_blocks(page, "python") if "CaptionTrainer(" in b.text]
    for shown, small in {
        '"Salesforce/blip-image-captioning-base"': repr(str(tmp_path / "tiny")),
        '        "out",\n': '        "out",\n        max_steps=2,\n        use_cpu=True,\n'
        '        report_to="none",\n        disable_tqdm=True,\n',
    }.items():
        assert shown in script
        script = script.replace(shown, small)
    monkeypatch.chdir(tmp_path)
    names = {"train_rows": rows[:12], "val_rows": rows[12:]}
    exec(compile(script, page.name, "exec"), names)
    trainer = names["trainer"]
    assert trainer.state.global_step == 2
    assert {"eval_cider", "eval_bleu_4", "eval_wer"} <= set(trainer.state.log_history[-2])
    model = captune.load(tmp_path / "out" / "best", device="cpu")
    assert model.caption([rows[0]["image"]], max_new_tokens=4)


# Run by a test of their own: with data, with a server, or in the order of the page.
_TESTED_ELSEWHERE = {"coming-from.md": "CaptionTrainer(", "serving.md": "OpenAI(", "python.md": ""}
PYTHON_BLOCKS = [
    block
    for page in PAGES
    for block in code_blocks(page, "python")
    if _TESTED_ELSEWHERE.get(page.name, "\0") not in block.text
]


@pytest.mark.parametrize("block", PYTHON_BLOCKS, ids=str)
def test_a_python_block_runs(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(block.text, block.page.name, "exec"), {})


def test_windows_has_instructions_without_make_and_a_job_in_the_workflow() -> None:
    install = (ROOT / "docs" / "start" / "install.md").read_text(encoding="utf-8")
    assert "`uv run captune demo`" in install
    assert "docs/start/install.md" in (ROOT / "README.md").read_text(encoding="utf-8")
    workflow = (ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")
    tests = workflow.partition("\n  tests:")[2].partition("\n  slow:")[0]
    assert "windows-latest" in tests
    assert "make " not in re.sub(r"#.*", "", tests)
