"""Output while work runs: it never stops the work, and never steers the terminal."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from captune.progress import (
    ProgressLines,
    guarded_streams,
    no_progress,
    open_console,
    print_line,
    print_lines,
    show_progress,
)


class BrokenStream(io.StringIO):
    """A full disk, or a pipe that its reader has closed."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")

    def flush(self) -> None:
        raise BrokenPipeError(32, "Broken pipe")


def run_python(script: str, *, redirect: str = "", **environment: str) -> tuple[int, str, str]:
    """Return exit code, stdout and stderr of a script whose stdout a shell redirects."""
    done = subprocess.run(
        f'"$PYTHON" -c "$SCRIPT" {redirect}',
        shell=True,
        executable="/bin/bash",
        env={"PYTHON": sys.executable, "SCRIPT": script, "PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        check=False,
    )
    return done.returncode, done.stdout.decode("latin-1"), done.stderr.decode("latin-1")


def test_a_stream_that_fails_or_is_closed_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (BrokenStream(), closed, None):
        monkeypatch.setattr(sys, "stdout", stream)
        print_line("step 10: validation loss 1.2")


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("cp1252", "0.5 -0.1 -> 0.4 \\u2603 é\n"),
        ("ascii", "0.5 -0.1 -> 0.4 \\u2603 \\xe9\n"),
        ("utf-8", "0.5 −0.1 → 0.4 ☃ é\n"),
    ],
)
def test_characters_that_an_encoding_lacks_are_replaced(
    encoding: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    print_line("0.5 −0.1 → 0.4 ☃ é")
    assert written.getvalue().decode(encoding) == shown


@pytest.mark.parametrize(("value", "is_plain"), [("1", True), ("", False), (None, False)])
def test_labels_have_colors_on_a_terminal_unless_no_color_has_a_value(
    value: str | None, is_plain: bool, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    if value is not None:
        monkeypatch.setenv("NO_COLOR", value)
    print_line("text", label="error:", color="red")
    assert (capsys.readouterr().out == "error: text\n") == is_plain


def test_a_name_cannot_steer_the_terminal_or_forge_a_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_line("a\nerror: b\x1b[2J\x07\u202e.jpg", label="note:")
    print_lines("one\ntwo\x1b[1m\udcff")
    assert capsys.readouterr().out == (
        "note: a\\nerror: b\\x1b[2J\\x07\\u202e.jpg\none\ntwo\\x1b[1m\\udcff\n"
    )


@pytest.mark.parametrize("redirect", [">&-", ">/dev/full", "| head -n 1", "2>&-", "2>/dev/full"])
def test_a_guarded_process_ends_normally_whatever_happens_to_its_output(
    redirect: str, tmp_path: Path
) -> None:
    script = (
        "import sys\n"
        "from captune.progress import guarded_streams, open_console, print_line, show_progress\n"
        "with guarded_streams():\n"
        "    for number in range(3000):\n"
        "        print_line(f'line {number}'); print('plain', number)\n"
        "        print('err', number, file=sys.stderr)\n"
        "    open_console().print('table'); open_console(to_stderr=True).print('table')\n"
        "    with show_progress('work', 3) as progress: progress.advance(3)\n"
        f"    open({str(tmp_path / 'done')!r}, 'w').write('done')\n"
    )
    code, _, error = run_python(script, redirect=redirect)
    assert code == 0, error[-500:]
    assert "Traceback" not in error
    assert (tmp_path / "done").read_text() == "done"


@pytest.mark.parametrize("variable", ["COLUMNS", "LINES", "TERMINAL_WIDTH"])
@pytest.mark.parametrize("value", ["0", "-3", "1", "²", "99999999999999999999"])
def test_an_odd_size_of_the_screen_loses_no_output(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with guarded_streams():
        open_console().print("eight images")
    assert variable not in os.environ  # typer reads it for its help
    assert capsys.readouterr().out == "eight images\n"


def test_a_usual_width_of_the_screen_is_used(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    with guarded_streams():
        open_console().print("twenty columns hold these")
    assert capsys.readouterr().out == "twenty columns hold \nthese\n"


def test_a_file_never_replaces_a_closed_stdout(tmp_path: Path) -> None:
    script = (
        "import os\n"
        "from captune.progress import guarded_streams, print_line\n"
        "with guarded_streams():\n"
        f"    with open({str(tmp_path / 'log')!r}, 'w') as log:\n"
        "        os.write(1, b'stray'); print_line('line'); log.write('kept')\n"
    )
    assert run_python(script, redirect=">&-")[0] == 0
    assert (tmp_path / "log").read_text() == "kept"


def test_lost_output_is_detected_and_a_closed_pipe_is_not_a_loss() -> None:
    script = (
        "import sys\n"
        "from captune.progress import guarded_streams\n"
        "with guarded_streams() as out:\n"
        "    print('x' * 10**6); out.flush()\n"
        "print(out.lost_output, file=sys.stderr)\n"
    )
    assert "No space left" in run_python(script, redirect=">/dev/full")[2]
    assert run_python(script, redirect="| true")[2] == "None\n"


def test_a_pipe_gets_occasional_lines_with_the_time_left() -> None:
    lines: list[str] = []
    progress = ProgressLines("training", 1200, "steps", lines.append, first=1000, seconds=0.0)
    progress._started -= 30.0
    progress.show(1100, "loss 2.310  14.2 images/s")
    assert lines == ["training: 1,100 of 1,200 steps, loss 2.310  14.2 images/s, about 30 s left"]


def test_lines_are_a_minute_apart_and_none_is_printed_at_the_end() -> None:
    lines: list[str] = []
    progress = ProgressLines("encoding", 10, "images", lines.append)
    progress.show(1, "")
    assert lines == []
    progress._shown -= 61.0
    progress.show(2, "")
    progress.show(3, "")
    assert len(lines) == 1
    progress._shown -= 61.0
    progress.show(10, "")
    assert len(lines) == 1


def test_a_bar_fits_eighty_columns_and_goes_to_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    # With these variables, rich behaves as on a terminal.
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    with show_progress("training", 1200, unit="steps") as progress:
        progress.move_to(1200, status="loss 12.345  1234.5 images/s")
    printed = capsys.readouterr()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", printed.err)
    lines = [line for part in text.split("\n") for line in part.split("\r")]
    (line,) = {line.strip() for line in lines if "1200/1200" in line}
    assert "…" not in line
    assert "1200/1200 loss 12.345  1234.5 images/s" in line
    assert len(line) <= 80
    assert printed.out == ""


def test_hidden_progress_still_counts(capsys: pytest.CaptureFixture[str]) -> None:
    progress = no_progress()
    progress.advance(3)
    assert progress.done == 3
    assert capsys.readouterr() == ("", "")


def test_lines_show_the_time_left_once_the_total_is_known() -> None:
    lines: list[str] = []
    shown = ProgressLines("captioning", None, "images", lines.append)
    shown._shown -= 61.0
    shown.show(10, "")
    shown.expect(40)
    shown._started, shown._shown = shown._started - 60.0, shown._shown - 61.0
    shown.show(20, "")
    assert lines == ["captioning: 10 images", "captioning: 20 of 40 images, about 60 s left"]
