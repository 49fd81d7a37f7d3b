"""Help in 80 columns: complete names, short values, plain defaults, and examples at the end."""

from __future__ import annotations

import re

import pytest
import typer

from captune.cli import main
from captune.cli.app import COMMANDS, load_command

WORDS = sorted(
    " ".join(filter(None, (name, sub)))
    for name in COMMANDS
    for sub in ("", *getattr(load_command(name), "commands", {}))
)


def show_help(words: str, monkeypatch: pytest.MonkeyPatch, *, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    # typer reads the width of the terminal here.
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", columns)
    with pytest.raises(SystemExit) as caught:
        main([*words.split(), "--help"])
    assert caught.value.code == 0


def options_of(words: str) -> list[str]:
    name, *sub = words.split()
    command = load_command(name)
    if sub:
        command = command.commands[sub[0]]
    return [name for option in command.params for name in (*option.opts, *option.secondary_opts)]


@pytest.mark.parametrize("words", WORDS)
def test_help_in_80_columns_is_complete_and_plain(
    words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    show_help(words, monkeypatch, columns=80)
    printed = capsys.readouterr().out
    assert max(map(len, printed.split("\n"))) <= 80
    assert "…" not in printed
    shown = [name for name in options_of(words) if name.startswith("--")]
    assert [name for name in shown if f" {name} " not in printed] == []
    for noise in ("<bool>", "<str>", "<int", "<float>", "[default: ("):
        assert noise not in printed


def test_paragraphs_are_wrapped_by_the_terminal_and_not_by_the_code() -> None:
    assert "Card and recipe show no paths of this machine." in load_command("push").help
    split = load_command("data").commands["split"]
    assert "\n" not in split.help.replace("\n\n", "")


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_ends_with_examples_that_can_be_pasted(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    show_help(name, monkeypatch, columns=80)
    last = capsys.readouterr().out.split("Examples:")[-1]
    examples = [line.strip() for line in last.split("\n") if line.strip()]
    assert examples == [f"captune {words}" for words in COMMANDS[name].examples]
    assert examples


def test_every_example_of_a_group_names_one_of_its_commands() -> None:
    for name, row in COMMANDS.items():
        parts = getattr(load_command(name), "commands", {})
        assert all(words.split()[1] in parts for words in row.examples if parts)


def test_a_default_given_as_text_is_a_sentence_of_the_description() -> None:
    options = {o.opts[0]: o for o in load_command("caption").params}
    beams = options["--num-beams"]
    assert re.fullmatch(r"Beams; 1: greedy\. Default: 3\.", beams.help)
    assert beams.show_default is False
    assert options["--early-stopping"].help.endswith("Default: off.")


def test_long_lists_of_choices_are_in_the_description() -> None:
    options = {o.opts[0]: o for o in load_command("caption").params}
    assert options["--existing"].metavar == "NAME"
    assert "skip, overwrite, append, prepend or error" in options["--existing"].help
    assert options["--decode"].metavar == "isolated|inline"


def test_value_names_do_not_depend_on_the_terminal() -> None:
    names = {o.opts[0]: o.metavar for o in load_command("evaluate").params}
    assert names["--split"] == "train|val|test"
    assert (names["--max-images"], names["--out"], names["--top-p"]) == ("N", "PATH", "X")
    assert isinstance(load_command("data"), typer.core.TyperGroup)


def test_the_list_of_commands_shows_flags_without_a_type(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    show_help("", monkeypatch, columns=80)
    printed = capsys.readouterr().out
    assert "--version" in printed
    assert "<" not in printed


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("compare", "{MODEL}..."),
        ("caption", "{MODEL} [INPUT]..."),
        ("merge", "{OUT} {PART}..."),
        ("serve", "{MODEL}..."),
        ("runs", "[FOLDER]..."),
        ("recipes", "[NAME]"),
    ],
)
def test_arguments_are_named_as_in_the_docs(
    words: str, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    show_help(words, monkeypatch, columns=80)
    assert f"Usage: captune {words} [OPTIONS] {shown} " in capsys.readouterr().out
