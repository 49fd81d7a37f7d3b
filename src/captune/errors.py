"""The errors that a user can cause: each states what is wrong, where, and how to fix it.

The command line prints them without a traceback and exits with `exit_code`.
"""

from __future__ import annotations

from collections import abc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from captune.text_safety import escape_terminal

CHECK_DISK = "check the disk or the network drive, then run the same command again"
"""The fix of errors of the system while a file is read."""

CHECK_PATH = "check the path, and that you may read it"
"""The fix of errors of the system when a file that a user names is opened."""

OTHER_DISK = (
    "choose another disk: this one (FAT32: 4 GB), or a limit (ulimit -f), allows no larger file"
)
"""The fix where a file cannot grow, though the disk is not full."""

_SHOWN_START, _SHOWN_END = 1500, 500

MODEL_FAULTS = (
    *(RuntimeError, ValueError, ArithmeticError, LookupError, TypeError, MemoryError),
    *(AttributeError, AssertionError),
)
"""Errors that code of models raises for an image or for settings that it cannot take."""


@contextmanager
def located(where: str) -> Iterator[None]:
    """State where an unknown metric, or another fault of metrics, is: its key or option.

    Args:
        where: The place, for errors of the body that do not state their own.
    """
    try:
        yield
    except MetricError as error:
        error.where = error.where or where
        raise


class CaptuneError(Exception):
    """Base of every error that a user can cause.

    Attributes:
        what: The fault, with the offending value.
        where: Recipe key, file and line, or image_id; empty if `what` states it.
        fix: A command, a key or the list of allowed values; empty if there is none.
        exit_code: Exit code of the command line.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        self.what, self.where, self.fix = what, where, fix
        super().__init__(what)

    def __str__(self) -> str:
        lines = [_indented(self.what)]
        if self.where:
            lines.append(f"  where: {escape_terminal(_cut(self.where))}")
        if self.fix:
            lines.append(f"  fix:   {_indented(self.fix)}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        # Default pickling, used between processes, loses keyword-only arguments.
        return _rebuild, (type(self), (self.what, self.where, self.fix))


def _indented(text: str) -> str:
    """Return escaped text; all lines but the first are indented, so none looks like a new error."""
    first, *others = map(escape_terminal, map(_cut, text.split("\n")))
    return "\n".join([first, *(line if line.startswith(" ") else f"  {line}" for line in others)])


def _cut(line: str) -> str:
    """Return start and end of a line that shows a value of a file, which may have any size."""
    more = len(line) - _SHOWN_START - _SHOWN_END
    if more <= 0:
        return line
    return f"{line[:_SHOWN_START]}… ({more:,} more characters) …{line[-_SHOWN_END:]}"


def _rebuild(kind: type[CaptuneError], texts: tuple[str, str, str]) -> CaptuneError:
    what, where, fix = texts
    return kind(what, where=where, fix=fix)


class RecipeError(CaptuneError):
    """A recipe or a `--set` override that cannot be used."""


class DataError(CaptuneError):
    """A data set that cannot be read, or has no usable image."""


class ColumnError(DataError):
    """A table without the column that is needed.

    Attributes:
        columns: The columns that it has; empty in a copy from another process.
    """

    def __init__(
        self, what: str, *, where: str = "", fix: str = "", columns: abc.Iterable[str] = ()
    ) -> None:
        super().__init__(what, where=where, fix=fix)
        self.columns = tuple(columns)


class ImageError(DataError):
    """One image that cannot be used; `what` is the short reason, such as `truncated`."""


class CaptioningError(ImageError):
    """Some images of a list could not be captioned; the error holds the captions of the others.

    Attributes:
        predictions: A `captune.Prediction` for each of the other images, in order.
        failures: Image id -> the error of the image.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str = "",
        fix: str = "",
        predictions: abc.Sequence[Any] = (),
        failures: abc.Mapping[str, ImageError] | None = None,
    ) -> None:
        super().__init__(what, where=where, fix=fix)
        self.predictions, self.failures = list(predictions), dict(failures or {})

    def __reduce__(self) -> tuple[object, ...]:
        texts = (self.what, self.where, self.fix)
        return _rebuild_captioning, (texts, self.predictions, self.failures)


def _rebuild_captioning(
    texts: tuple[str, str, str], predictions: list[Any], failures: dict[str, ImageError]
) -> CaptioningError:
    what, where, fix = texts
    return CaptioningError(what, where=where, fix=fix, predictions=predictions, failures=failures)


class ModelError(CaptuneError):
    """A checkpoint that cannot be loaded, or a model that does not support the request."""


class PromptError(ModelError):
    """A prompt that the model cannot continue."""


class MetricError(CaptuneError):
    """An unknown metric, or references and predictions that do not match."""


class OutputError(CaptuneError):
    """An output place that cannot be written, or that holds files that must not be lost."""


class ClusterError(CaptuneError):
    """A cluster of machines that does not do its work; finished work is kept."""


class EnvironmentValueError(CaptuneError):
    """An environment variable whose value cannot be used."""


class MissingExtraError(CaptuneError):
    """An optional dependency that is not installed; `fix` holds the pip line."""


def error_chain(error: BaseException) -> abc.Iterator[BaseException]:
    """Yield an error and those that led to it, from the last to the first."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
