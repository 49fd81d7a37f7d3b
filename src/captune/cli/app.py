"""The frame of the command line: commands run from their table, one border for errors.

A command's module is imported only when that command runs, so `captune --help` takes a tenth of a
second. Exit codes: 0 done, 1 internal error, 2 usage, recipe or data error, 3 finished with
listed failures, 128 + the signal's number if stopped: 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP.
"""

from __future__ import annotations

import codecs
import importlib
import inspect
import logging
import math
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from captune import __version__
from captune.cli.bulk.clean_flag import fill_clean
from captune.cli.commands import COMMANDS
from captune.cli.findings.import_faults import explain_import
from captune.cli.findings.system_faults import describe_os_error, explain_system
from captune.cli.findings.variable_faults import explain_variables
from captune.cli.flags.completion import prepare_completion
from captune.cli.flags.help_words import shorten_help
from captune.errors import CaptuneError
from captune.hardware import let_waiting_threads_sleep
from captune.progress import guarded_streams, print_line, print_lines
from captune.stopping import exit_code, find_stop, signals_stop
from captune.storage import expand_home, read_count
from captune.suggest import quote_words
from captune.text_safety import escape_terminal

INTERNAL_ERROR = 1
USAGE_ERROR = 2
FINISHED_WITH_FAILURES = 3
"""Exit code of a command that continued past failures and listed them: `raise typer.Exit(...)`."""

# New versions of typer bundle click, older ones import it: this works with both.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]
_WORDS: ContextVar[tuple[str, ...]] = ContextVar("words", default=())
_DEBUG = "--debug"
_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
_PRINTED = {"--help", "--version", "--dry-run", "--preview", "--table"}
"""Options that make what a command prints its result."""
_SHARES = "a process per GPU with --shard 1/2 and --shard 2/2, or --engine ray"
_PRINT_ELSEWHERE = "free its disk, or send the output to a file on another one: > FILE"
_PACKAGE = Path(__file__).parents[1]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit; the console script's entry.

    Args:
        arguments: Words after `captune`; `None`: the process's own.

    Raises:
        SystemExit: Always, with the exit code.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    is_debug, words = _take_debug(words)
    _show_warnings()
    let_waiting_threads_sleep()
    with guarded_streams() as stdout:
        if codecs.lookup(sys.getfilesystemencoding()).name != "utf-8":
            message = (
                "files with letters beyond ASCII are not found in this locale; set PYTHONUTF8=1"
            )
            print_line(message, label="warning:", color="yellow", to_stderr=True)
        code = _run(words, is_debug=is_debug)
        stdout.flush()
        # Of a command with failures, their list is lost.
        is_needed = code == FINISHED_WITH_FAILURES or (code == 0 and _prints(words))
        if stdout.lost_output is not None and is_needed:
            reason = stdout.lost_output.strerror
            lost = CaptuneError(f"cannot write to stdout: {reason}", fix=_PRINT_ELSEWHERE)
            code = _fail(str(lost), code=lost.exit_code, is_debug=False)
    sys.exit(code)


def _run(words: list[str], *, is_debug: bool) -> int:
    """Run a command and return the exit code."""
    try:
        _WORDS.set(tuple(words))
        with signals_stop(), _own_warnings_as_lines():
            prepare_completion()
            code = _group().main(args=words, prog_name="captune", standalone_mode=False)
            return code if isinstance(code, int) else 0
    except _UsageError as error:
        return _explain_usage(error)
    except CaptuneError as error:
        return _fail(str(error), code=error.exit_code, is_debug=is_debug)
    except KeyboardInterrupt as stop:
        return _say_stopped(stop)
    # The border: an unexpected error becomes one line, with the traceback on demand.
    except Exception as error:  # noqa: BLE001
        cause = find_stop(error)
        return _explain(error, is_debug=is_debug) if cause is None else _say_stopped(cause)


def _say_stopped(stop: KeyboardInterrupt) -> int:
    """Print the one line of a command that a signal has ended, and return its exit code."""
    print_line(str(stop) or "stopped", to_stderr=True)
    return exit_code(stop)


def _explain(error: Exception, *, is_debug: bool) -> int:
    """Print an error that no command handles, and return its exit code."""
    fault = explain_import(error) or explain_system(error) or explain_variables(error)
    if fault is not None:
        return _fail(str(fault), code=fault.exit_code, is_debug=is_debug)
    if isinstance(error, OSError):
        message = escape_terminal(describe_os_error(error))
        return _fail(message, code=INTERNAL_ERROR, is_debug=is_debug)
    message = escape_terminal(f"internal error: {type(error).__name__}: {error}")
    hint = "" if is_debug else "\n  fix:   run it again with --debug and report the traceback"
    return _fail(message + hint, code=INTERNAL_ERROR, is_debug=is_debug)


def _prints(words: Sequence[str]) -> bool:
    """Return whether the command's output is its result, as help and plans are."""
    if not words or _PRINTED & {word.partition("=")[0] for word in words}:
        return True
    command = COMMANDS.get(words[0])
    return command is not None and (
        command.prints or any(word in command.printing for word in words[1:2])
    )


def _explain_usage(error: Any) -> int:
    """Print a usage error and return its exit code."""
    # Without arguments, typer has printed the help.
    if type(error).__name__ != "NoArgsIsHelpError":
        from captune.recipe import plain_words

        path = error.ctx.command_path if error.ctx is not None else "captune"
        usage = CaptuneError(plain_words(error.format_message()), fix=f"see {path} --help")
        _fail(str(usage), code=USAGE_ERROR, is_debug=False)
    return int(error.exit_code)


def _show_warnings() -> None:
    """Send the package's own log to stderr, in the format of errors."""
    log = logging.getLogger("captune")
    if not any(isinstance(handler, _Warnings) for handler in log.handlers):
        log.addHandler(_Warnings(logging.WARNING))


class _Warnings(logging.Handler):
    """Prints log records as warnings on the current stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        print_line(record.getMessage(), label="warning:", color="yellow", to_stderr=True)


@contextmanager
def _own_warnings_as_lines() -> Iterator[None]:
    """Print each warning of captune once, without its line of code.

    Warnings of other packages keep their usual form; Pillow's are dropped.
    """
    printed: set[str] = set()
    with warnings.catch_warnings():
        show = warnings.showwarning

        def show_line(message: Any, category: Any, filename: str, *place: Any) -> None:
            if Path(filename).parent.name == "PIL":
                # About broken metadata, without the image's name: the pixels are fine, and if
                # they are not, an error names the image.
                return
            if not Path(filename).is_relative_to(_PACKAGE):
                show(message, category, filename, *place)
            elif str(message) not in printed:
                printed.add(str(message))
                logging.getLogger("captune").warning("%s", message)

        # The remaining four parameters are passed on unchanged.
        warnings.showwarning = show_line  # type: ignore[assignment]
        # A warning of captune is a line for its user, also where Python turns warnings into errors.
        warnings.filterwarnings("always", category=UserWarning, module=r"captune\.")
        yield


def load_command(name: str) -> Any:
    """Import the module of a command and return its click command.

    Raises:
        KeyError: The table has no such command.
    """
    module_name, _, attribute = COMMANDS[name].target.partition(":")
    target = getattr(importlib.import_module(module_name), attribute)
    if isinstance(target, typer.Typer):
        # A group built this way has no completion options.
        command: Any = typer.main.get_group(target)
    else:
        command = typer.main.get_command(_single(name, target))
    command.name = name
    examples = COMMANDS[name].examples
    command.epilog = _show_examples(examples)
    parts = getattr(command, "commands", {})
    for word, part in parts.items():
        part.epilog = _show_examples([e for e in examples if e.split()[:2] == [name, word]])
    for part in (command, *parts.values()):
        shorten_help(part)
        for parameter in part.params:
            parameter.process_value = _check_value(parameter)
    return command


def _takes_path(parameter: Any) -> bool:
    # New versions of typer keep the annotation, older ones click's type.
    annotation = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
    return (
        "Path" in str(annotation) or getattr(parameter.__dict__.get("type"), "name", "") == "path"
    )


def _check_value(parameter: Any) -> Callable[..., Any]:
    """Return how a value is processed: no path is empty, `~` is the home, numbers are finite."""
    process, takes_path = parameter.process_value, _takes_path(parameter)

    def process_value(context: Any, value: Any) -> Any:
        if takes_path and "" in (value if isinstance(value, list | tuple) else (value,)):
            message = "it is empty; give a path, or '.' for this folder"
            raise typer.BadParameter(message, ctx=context, param=parameter)
        made = process(context, value)
        # A range without a maximum allows infinity, and that of older versions of click NaN.
        if isinstance(made, float) and not math.isfinite(made):
            message = f"{value} is not a finite number"
            raise typer.BadParameter(message, ctx=context, param=parameter)
        return _expand(made) if takes_path else made

    return process_value


def _expand(value: Any) -> Any:
    """Return paths with the home folder for `~`, which a shell leaves as it is in `--out=~/x`."""
    if isinstance(value, list | tuple):
        return type(value)(map(_expand, value))
    starts = isinstance(value, str | Path) and str(value).startswith("~")
    return type(value)(expand_home(value)) if starts else value


class LazyGroup(TyperGroup):
    """The table's commands, listed without an import; only the one called is imported."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, row in COMMANDS.items():
            self.add_command(TyperCommand(name, help=row.about, rich_help_panel=row.panel))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the command to run, loaded, and the words that remain for it."""
        name, stub, rest = super().resolve_command(ctx, args)
        if name is None or name not in COMMANDS:
            return name, stub, rest
        if not COMMANDS[name].shares_work:
            _refuse_launcher(name)
        return name, load_command(name), fill_clean(rest)

    def make_context(self, *words: Any, **settings: Any) -> Any:
        """Read the words; a signal ends this with one line."""
        # typer makes 130 of every signal that reaches it.
        with _ending_at_signals():
            return super().make_context(*words, **settings)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; a signal that it does not handle ends it with one line."""
        try:
            with _ending_at_signals():
                return super().invoke(ctx)
        except (BrokenPipeError, EOFError) as error:
            # Of a file or a helper process, as what captune prints raises none. typer would end in
            # silence: it takes them for the end of stdout and stdin.
            what = f"{type(error).__name__}: {error}"
            raise RuntimeError(f"a file or a helper process has ended early ({what})") from error


def _refuse_launcher(name: str) -> None:
    """Stop if a launcher has started a command several times that is one process.

    Raises:
        CaptuneError: The processes would overwrite each other's files.
    """
    # `bench` trains with accelerate, which waits for as many processes as any of these counts.
    names = _SIZES if name == "bench" else _SIZES[:1]
    size, counted_by = max((read_count(variable, 1), variable) for variable in names)
    if size <= 1 or (name != "bench" and "LOCAL_RANK" not in os.environ):
        return
    shares = f"; for several GPUs: {_SHARES}" if name == "caption" else ""
    raise CaptuneError(
        f"a launcher (torchrun, accelerate launch) started captune {name} {size} times, but"
        f" captune {name} is one process",
        where=counted_by,
        fix=f"start it without the launcher, or unset {counted_by}{shares}",
    )


@contextmanager
def _ending_at_signals() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as stop:
        raise typer.Exit(_say_stopped(stop)) from None


def this_command(*more: str) -> str:
    """Return the running command, quoted for a shell, plus each of `more` that it lacks."""
    words = _WORDS.get()
    added = (word for word in more if word not in words)
    return quote_words("captune", *words, *added)


@contextmanager
def stopping(message: Callable[[], str]) -> Iterator[None]:
    """Guard a command's long work: when a signal stops it, print why and what to do, and exit.

    Args:
        message: Returns what is kept and how to resume; called only when that happens. Empty:
            nothing is printed, since another process prints it.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        if text := message():
            print_line(f"{str(stop) or 'stopped'}; {text}", to_stderr=True)
        raise typer.Exit(exit_code(stop)) from None


def _group() -> Any:
    app = typer.Typer(cls=LazyGroup, no_args_is_help=True)
    app.callback()(_captune)
    group = typer.main.get_command(app)
    shorten_help(group)
    return group


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"captune {__version__}")
        raise typer.Exit


def _captune(
    _version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", is_eager=True, callback=_show_version),
    ] = False,
    # `main` removes it from the words; it is declared here for the help.
    _debug: Annotated[bool, typer.Option(_DEBUG, help="Print tracebacks of errors.")] = False,
) -> None:
    """Fine-tune, evaluate and run image captioning models, with evidence."""


def _take_debug(words: list[str]) -> tuple[bool, list[str]]:
    """Remove `--debug` wherever it is, so that it works after a command too."""
    end = words.index("--") if "--" in words else len(words)
    options = [word for word in words[:end] if word != _DEBUG]
    return len(options) < end, options + words[end:]


def _show_examples(examples: Sequence[str]) -> str:
    lines = (f"captune {words}" for words in examples)
    return "\n\n".join(["Examples:", *lines]) if examples else ""


def _single(name: str, function: Callable[..., None]) -> typer.Typer:
    app = typer.Typer(add_completion=False)
    app.command(name, help=_help_text(function))(function)
    return app


def _help_text(function: Callable[..., None]) -> str:
    """Return a docstring without its Google sections, which are for readers of the code."""
    text = inspect.getdoc(function) or ""
    return re.split(r"\n\s*(?:Args|Raises|Returns|Source):\n", text)[0].strip()


def _fail(message: str, *, code: int, is_debug: bool) -> int:
    """Print an error and return its exit code."""
    if is_debug:
        print_lines(traceback.format_exc().rstrip("\n"), to_stderr=True)
    print_lines(message, label="error:", color="red", to_stderr=True)
    return code
