"""The frame of the command line: fast help, one place for errors, the documented exit codes."""

from __future__ import annotations

import errno
import logging
import os
import resource
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from PIL import TiffImagePlugin

import captune.cli.app as app_module
from captune import __version__
from captune.cli import FINISHED_WITH_FAILURES, main
from captune.cli.app import COMMANDS, load_command
from captune.errors import DataError

# Their import takes seconds.
HEAVY = ("torch", "transformers", "datasets", "matplotlib", "accelerate", "pandas", "sacrebleu")


def leave(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(words)
    code = caught.value.code
    assert isinstance(code, int)
    return code


def test_help_names_every_command_and_exits_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("--help") == 0
    printed = capsys.readouterr().out
    assert all(f" {name} " in printed for name in COMMANDS)


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("--version") == 0
    assert capsys.readouterr().out == f"captune {__version__}\n"


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["recipes", "demo"], ["recipes"]])
def test_help_and_lists_load_no_slow_package(words: list[str]) -> None:
    script = (
        "import sys, captune.cli\n"
        "try: captune.cli.main(sys.argv[1:])\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        f"loaded = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "assert not loaded, loaded"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_help_takes_less_than_half_a_second() -> None:
    def seconds(*words: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *words], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    # CPU time, as the clock would measure other programs. A core that is shared with them is
    # slower; then, what typer and rich need by themselves shows by how much.
    for _ in range(10):
        needed = seconds("-c", "import typer.rich_utils")
        if seconds("-m", "captune", "--help") < max(0.5, 1.6 * needed):
            return
    pytest.fail("captune --help takes more than half a second")


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_of_the_table_exists_and_has_help_without_google_sections(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert load_command(name).name == name
    assert leave(name, "--help") == 0
    printed = capsys.readouterr().out
    assert "Args:" not in printed
    assert "Raises:" not in printed


def test_an_unknown_command_exits_2_with_a_suggestion(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert leave("recipe") == 2
    assert "Did you mean 'recipes'?" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            "evaluate m d --split dev",
            "'dev' is not one of 'train', 'val', 'test' (did you mean 'val'?)",
        ),
        ("data check d --limit 0", "'--limit': must be at least 1"),
        ("data check d --limit x", "'--limit': must be a whole number"),
        (f"caption m d --preview {2**64}", "'--preview': must be at most 100000"),
    ],
)
def test_a_value_that_an_option_refuses_is_explained_in_plain_words(
    capsys, words: str, expected: str
) -> None:
    assert leave(*words.split()) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ("train", "demo", "--out", ""),
        ("score", "--references", "", "--predictions", "p.json"),
        ("data", "check", "shapes:3", "--image-root="),
        ("data", "check", ""),
        ("run", "demo", "--only", ""),
        ("run", ""),
        ("doctor", ""),
    ],
    ids=" ".join,
)
def test_an_empty_path_or_name_is_refused_and_nothing_is_written_to_this_folder(
    words: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert leave(*words) == 2
    assert "empty" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_locale_without_utf_8_is_warned_about() -> None:
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "captune", "recipes"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr.count("PYTHONUTF8=1") == (sys.platform == "linux")


def test_an_unknown_option_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("recipes", "--fool") == 2
    assert "--fool" in capsys.readouterr().err


def test_a_users_error_exits_2_without_a_traceback(
    add_command: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise DataError("no images", where="data.path", fix="give a folder")

    add_command(fail)
    assert leave("x") == 2
    output = capsys.readouterr()
    assert output.err == "error: no images\n  where: data.path\n  fix:   give a folder\n"
    assert output.out == ""


@pytest.mark.parametrize("words", [["--debug", "x", "--", "a"], ["x", "--debug", "--", "a"]])
def test_debug_prints_the_traceback_at_any_position(
    words: list[str], add_command: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(text: str) -> None:
        raise DataError(f"no {text}")

    add_command(fail)
    assert leave(*words) == 2
    printed = capsys.readouterr().err
    assert "Traceback (most recent call last)" in printed
    assert printed.endswith("error: no a\n")


def test_debug_after_two_dashes_is_an_ordinary_word(
    add_command: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    def show(text: str) -> None:
        typer.echo(text)

    add_command(show)
    assert leave("x", "--", "--debug") == 0
    assert capsys.readouterr().out == "--debug\n"


def test_an_unexpected_error_exits_1_with_one_line_and_a_hint(
    add_command: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ZeroDivisionError("division by zero")

    add_command(fail)
    assert leave("x") == 1
    assert capsys.readouterr().err == (
        "error: internal error: ZeroDivisionError: division by zero\n"
        "  fix:   run it again with --debug and report the traceback\n"
    )


def test_a_full_disk_exits_2_with_the_message_of_the_system(
    add_command: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise OSError(28, "No space left on device", "out.jsonl")

    add_command(fail)
    assert leave("x") == 2
    assert capsys.readouterr().err == (
        "error: No space left on device: out.jsonl\n"
        "  fix:   free some disk space, then run the same command again\n"
    )


@pytest.mark.parametrize(
    "number",
    [
        *(errno.EPERM, errno.EIO, errno.EAGAIN, errno.ENOMEM, errno.EACCES, errno.EMFILE),
        *(errno.EROFS, errno.ELOOP, errno.ENOTCONN),
    ],
)
def test_an_error_of_the_users_files_exits_2_with_the_path_and_a_fix(
    add_command: Callable[..., None], capsys: pytest.CaptureFixture[str], number: int
) -> None:
    def fail() -> None:
        raise OSError(number, os.strerror(number), "photos/a.csv")

    add_command(fail)
    assert leave("x") == 2
    errors = capsys.readouterr().err
    assert errors.startswith(f"error: {os.strerror(number)}: photos/a.csv\n  fix:   ")


@pytest.mark.parametrize(
    "words",
    [
        ("caption", "{}", "{}"),
        ("run", "{}"),
        ("data", "check", "{}"),
        ("undo", "{}"),
        ("caption", "model", "a.jpg", "--to", "jsonl", "--out", "{}"),
    ],
)
def test_a_name_longer_than_the_system_allows_is_a_usage_error(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    name = "x" * 300
    assert leave(*(word.format(name) for word in words)) == 2
    assert "fix:" in capsys.readouterr().err


def test_an_interrupt_exits_130(add_command: Callable[..., None]) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    add_command(stop)
    assert leave("x") == 130


def test_listed_failures_exit_3(add_command: Callable[..., None]) -> None:
    def finish() -> None:
        raise typer.Exit(FINISHED_WITH_FAILURES)

    add_command(finish)
    assert leave("x") == 3


@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), EOFError("no input")])
def test_a_file_or_process_that_ends_early_is_an_error_with_words(
    add_command: Callable[..., None], capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def fail() -> None:
        raise error

    add_command(fail)
    assert leave("x") == 1
    expected = f"has ended early ({type(error).__name__}: {error})"
    assert expected in capsys.readouterr().err


def test_a_closed_pipe_is_not_an_internal_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m captune recipes demo --full | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "internal error" not in done.stderr
    assert done.stdout.startswith("#")


def test_warnings_of_the_package_reach_stderr_once_however_often_main_runs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert [leave("--version"), leave("--version")] == [0, 0]
    logging.getLogger("captune.models").warning("%s skipped", "the head")
    assert capsys.readouterr().err == "warning: the head skipped\n"


def test_captunes_warnings_are_single_lines_others_stay_unchanged_and_pillows_are_dropped(
    add_command: Callable[[Callable[..., None]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    own = str(Path(app_module.__file__).parents[1] / "metrics" / "scores" / "cider.py")

    def warn() -> None:
        for line in (57, 74):
            warnings.warn_explicit("of one image", UserWarning, own, line)
        warnings.warn_explicit("of another", UserWarning, "elsewhere.py", 3)
        warnings.warn_explicit("Corrupt EXIF data", UserWarning, TiffImagePlugin.__file__, 950)

    add_command(warn)
    before = warnings.showwarning
    with pytest.warns(UserWarning, match="of another") as others:
        assert leave("x") == 0
    assert capsys.readouterr().err == "warning: of one image\n"
    assert [str(other.message) for other in others] == ["of another"]
    assert warnings.showwarning is before


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_ends_with_examples_and_shows_no_value_for_switches(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert leave(name, "--help") == 0
    printed = capsys.readouterr().out
    assert "<bool>" not in printed
    assert COMMANDS[name].examples
    end = " ".join(printed.partition("Examples:")[2].split())
    assert all(f"captune {words}" in end for words in COMMANDS[name].examples)


@pytest.mark.parametrize(
    "words",
    [
        *([name] for name in COMMANDS if name != "data"),
        *(["data", name] for name in ("check", "show", "convert", "split")),
    ],
    ids=" ".join,
)
def test_help_at_80_columns_cuts_no_word(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert leave(*words, "--help") == 0
    assert "…" not in capsys.readouterr().out


@pytest.mark.parametrize("words", [words for row in COMMANDS.values() for words in row.examples])
def test_every_example_parses(words: str) -> None:
    name, *rest = words.partition(" > ")[0].split()
    command = load_command(name)
    if hasattr(command, "commands"):
        command, rest = command.commands[rest[0]], rest[1:]
    # This parses names, options and types; nothing runs.
    command.make_context(name, rest)


def test_a_usage_error_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("recipes", "demo", "evil\x1b[2J\nerror: forged") == 2
    printed = capsys.readouterr().err
    assert "\x1b" not in printed
    assert printed.startswith("error: ")
    assert "\nerror:" not in printed
    assert printed.endswith("  fix:   see captune recipes --help\n")


def test_a_signal_that_no_command_handles_exits_with_its_number(
    add_command: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> None:
        signal.raise_signal(signal.SIGTERM)

    add_command(work)
    assert leave("x") == 143
    assert capsys.readouterr().err == "stopped by SIGTERM\n"
