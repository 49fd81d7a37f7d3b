"""Output while work runs: lines, progress bars, and streams whose failure stops nothing.

A full disk, a closed pipe or an encoding without `−` must not cost hours of training. So every
line goes through `print_line`, every table through `open_console`, and the command line guards
the output of other packages. Text is escaped here: names and captions are not trusted.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

from captune.text_safety import escape_terminal, escape_terminal_lines

if TYPE_CHECKING:
    from rich.console import Console

Say = Callable[[str], None]
"""Called with each progress message; the caller chooses what happens to it."""

Color = Literal["green", "red", "yellow"]

_CODES = {"red": 31, "green": 32, "yellow": 33}
# Replacements for characters that the stream's encoding lacks.
_PLAIN = {
    **{"−": "-", "–": "-", "—": "-", "→": "->", "…": "...", "×": "x", "±": "+-", "≥": ">="},
    **{"≤": "<=", "“": '"', "”": '"', "‘": "'", "’": "'", "µ": "u", "│": "|", "─": "-"},
}
_SECONDS_BETWEEN_LINES = 60.0
_SMALLEST_SIZES = {"COLUMNS": 20, "LINES": 2, "TERMINAL_WIDTH": 20}
"""Environment variable that overrides a size of the screen -> the smallest size that is used."""


def print_line(
    text: str = "", *, label: str = "", color: Color | None = None, to_stderr: bool = False
) -> None:
    """Print one escaped line; a stream that fails is ignored.

    Args:
        text: The line; line ends in it, such as those in a file name, are escaped too.
        label: A word in front of it, such as `error:`.
        color: Color of the label, on a terminal.
        to_stderr: Whether to print to stderr instead of stdout.
    """
    print_lines(escape_terminal(text), label=label, color=color, to_stderr=to_stderr)


def print_lines(
    text: str, *, label: str = "", color: Color | None = None, to_stderr: bool = False
) -> None:
    """Print text of several lines like `print_line`; names in it must be escaped already."""
    stream = sys.stderr if to_stderr else sys.stdout
    if stream is None:
        return
    guarded = GuardedStream(stream)
    if label:
        label = _colored(label, color, guarded) + " " * bool(text)
    guarded.write(f"{label}{escape_terminal_lines(text)}\n")
    guarded.flush()


def open_console(*, to_stderr: bool = False, width: int | None = None) -> Console:
    """Return a rich console on stdout or stderr whose failures are ignored."""
    from rich.console import Console

    stream: Any = sys.stderr if to_stderr else sys.stdout
    file: Any = GuardedStream(stream) if stream is not None else None
    return Console(file=file, stderr=to_stderr, highlight=False, width=width)


@dataclass(slots=True)
class GuardedStream:
    """A text stream that never raises on write; everything else is that of the stream.

    Attributes:
        stream: The guarded stream.
        failure: Why text was lost; `None`: no text was lost.
    """

    stream: Any
    failure: Exception | None = None

    def write(self, text: str) -> int:
        """Write text; characters that the encoding lacks are replaced by plain ones."""
        try:
            self.stream.write(text)
        except UnicodeEncodeError:
            return self.write(_fit(text, self.stream.encoding or "ascii"))
        except (OSError, ValueError) as error:
            self.failure = error
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        try:
            self.stream.flush()
        except (OSError, ValueError) as error:
            self.failure = error

    @property
    def lost_output(self) -> OSError | None:
        """The error that lost output; a closed pipe is not one: its reader has stopped."""
        is_real = isinstance(self.failure, OSError) and self.failure.errno != errno.EPIPE
        return self.failure if is_real and isinstance(self.failure, OSError) else None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def guarded_streams() -> Iterator[GuardedStream]:
    """Guard stdout and stderr while the body runs, including output of other packages.

    Yields:
        The guarded stdout, whose `lost_output` is the error that lost output.
    """
    _open_closed_streams()
    _forget_odd_sizes()
    own = sys.stdout, sys.stderr
    out, err = (GuardedStream(stream or _open_nowhere()) for stream in own)
    sys.stdout, sys.stderr = out, err
    try:
        yield out
    finally:
        for guard in (out, err):
            guard.flush()
            if guard.failure is not None:
                _discard(guard.stream)
        sys.stdout, sys.stderr = own


def _forget_odd_sizes() -> None:
    """Drop sizes of the screen that rich and typer cannot use: `COLUMNS=0` hides everything."""
    for name, smallest in _SMALLEST_SIZES.items():
        value = os.environ.get(name, "")
        is_size = value.isascii() and value.isdecimal() and len(value) < 5
        if value and not (is_size and int(value) >= smallest):
            del os.environ[name]


@dataclass(slots=True)
class Progress:
    """The progress of one piece of work, shown as it advances.

    Attributes:
        done: Units done.
        show: Called with the units done and a status.
        expect: Called with the number of units, once it is known; the time left needs it.
    """

    done: int
    show: Callable[[int, str], None]
    expect: Callable[[int], None] = lambda _total: None

    def advance(self, count: int = 1, *, status: str = "") -> None:
        """Count units as done; `status` is shown beside them."""
        self.move_to(self.done + count, status=status)

    def move_to(self, done: int, *, status: str = "") -> None:
        """Set the number of units done."""
        self.done = done
        self.show(done, status)


@contextmanager
def show_progress(
    label: str, total: int | None, *, done: int = 0, unit: str = "images", say: Say | None = None
) -> Iterator[Progress]:
    """Show a bar if stderr is a terminal, else one line per minute.

    Args:
        label: Name of the work, such as `training`.
        total: Number of units; `None`: unknown.
        done: Units done before.
        unit: Name of the units.
        say: Called with the lines; `None`: they go to stderr.
    """
    console = open_console(to_stderr=True) if _may_be_live() else None
    if console is not None and (console.is_terminal or console.is_jupyter):
        with _bar(console, label, total=total, done=done) as progress:
            yield progress
    else:
        lines = ProgressLines(label, total, unit, say or _say_on_stderr, first=done)
        yield Progress(done, lines.show, lines.expect)


def _may_be_live() -> bool:
    """Return whether rich, whose import takes a while, may find a terminal or a notebook."""
    if "IPython" in sys.modules or {"FORCE_COLOR", "TTY_COMPATIBLE"} & os.environ.keys():
        return True
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except ValueError:
        # The stream is closed.
        return False


def no_progress() -> Progress:
    """Return progress that is not shown, such as that of a second process."""
    return Progress(0, lambda _done, _status: None)


@dataclass(slots=True)
class ProgressLines:
    """Progress as occasional lines, for logs and pipes.

    Attributes:
        label: Name of the work.
        total: Number of units; `None`: unknown.
        unit: Name of the units.
        say: Called with each line.
        first: Units done before.
        seconds: Minimum time between two lines.
    """

    label: str
    total: int | None
    unit: str
    say: Say
    first: int = 0
    seconds: float = _SECONDS_BETWEEN_LINES
    _started: float = field(default_factory=time.monotonic)
    _shown: float = field(default_factory=time.monotonic)

    def expect(self, total: int) -> None:
        """Set the number of units."""
        self.total = total

    def show(self, done: int, status: str) -> None:
        """Report the progress, unless the last line is too recent."""
        now = time.monotonic()
        is_last = self.total is not None and done >= self.total
        if now - self._shown < self.seconds or is_last:
            return
        self._shown = now
        of = "" if self.total is None else f" of {self.total:,}"
        parts = [f"{done:,}{of} {self.unit}", status]
        if done > self.first and self.total is not None:
            left = (now - self._started) / (done - self.first) * (self.total - done)
            parts.append(f"about {_duration(left)} left")
        self.say(f"{self.label}: {', '.join(part for part in parts if part)}")


@contextmanager
def _bar(console: Console, label: str, *, total: int | None, done: int) -> Iterator[Progress]:
    from rich import progress
    from rich.table import Column

    # On a narrow screen the bar shrinks, not the figures.
    columns = (
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(bar_width=20),
        progress.MofNCompleteColumn(table_column=Column(no_wrap=True)),
        progress.TextColumn("{task.fields[status]}", markup=False),
        progress.TimeElapsedColumn(table_column=Column(no_wrap=True)),
        progress.TextColumn("left"),
        progress.TimeRemainingColumn(table_column=Column(no_wrap=True)),
    )
    # Lines on stdout are drawn above the bar, unless they go to a file or a pipe.
    is_shared = sys.stdout is not None and sys.stdout.isatty()
    shown = escape_terminal(label)
    with progress.Progress(
        *columns, console=console, redirect_stdout=is_shared, transient=True
    ) as bar:
        task = bar.add_task(shown, total=total, completed=done, status="")
        yield Progress(
            done,
            lambda at, status: bar.update(task, completed=at, status=escape_terminal(status)),
            lambda total: bar.update(task, total=total),
        )


def _say_on_stderr(line: str) -> None:
    print_line(line, to_stderr=True)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def _colored(label: str, color: Color | None, stream: GuardedStream) -> str:
    try:
        is_plain = not stream.isatty() or bool(os.environ.get("NO_COLOR"))
    except ValueError:
        is_plain = True
    return label if color is None or is_plain else f"\x1b[1;{_CODES[color]}m{label}\x1b[0m"


def _fit(text: str, encoding: str) -> str:
    """Return the text in characters that the encoding has."""

    def fit(letter: str) -> str:
        for shown in (letter, _PLAIN.get(letter, letter)):
            try:
                shown.encode(encoding)
            except UnicodeEncodeError:
                continue
            return shown
        return letter.encode("ascii", "backslashreplace").decode()

    return "".join(map(fit, text))


def _open_closed_streams() -> None:
    """Reserve the number of a closed stdin, stdout or stderr; the next open file would get it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is the closed one.
            os.open(os.devnull, os.O_RDWR)


def _open_nowhere() -> TextIO:
    """Return a stream that replaces one that was closed when the process began."""
    return Path(os.devnull).open("w", encoding="utf-8")


def _discard(stream: Any) -> None:
    """Discard the buffer of a failed stream, or Python's last flush would exit with 120."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError, AttributeError):
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
