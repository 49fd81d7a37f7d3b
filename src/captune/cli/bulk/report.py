"""The progress and the summary of `captune caption`, on stderr."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from captune.progress import Progress, print_line, show_progress
from captune.suggest import format_count

if TYPE_CHECKING:
    from captune.bulk import BulkResult, Outcome

_MAX_SHOWN = 1000


@dataclass(slots=True)
class BulkReport:
    """What the user sees of a run.

    Attributes:
        result: Filled in by the run.
        shows_progress: Whether to show progress; not if captions go to the screen.
        limit: Maximum number of images to caption; `None`: all.
    """

    result: BulkResult
    shows_progress: bool = True
    limit: int | None = None

    @contextmanager
    def progress(self) -> Iterator[Callable[[Outcome], None] | None]:
        """Show progress while the body runs; yield what to call after each image."""
        if not self.shows_progress:
            yield None
            return
        with show_progress("captioning", None) as progress:
            yield lambda outcome: self._advance(progress, outcome)

    def show(self) -> None:
        """Print counts and speed, then every failure with its reason."""
        parts = [self._speed()] if self.result.hardware else []
        outcome = self.result.outcome
        parts += _describe_captions(outcome)
        parts += _describe_others(outcome)
        found = format_count(outcome.num_found, "image")
        _say("; ".join(parts) or f"{found} found, nothing to do")
        self._show_failures()
        for text in outcome.kept:
            _say(f"  kept:  {text}")
        if outcome.num_kept > len(outcome.kept):
            _say(f"  and {outcome.num_kept - len(outcome.kept)} more")
        if self.result.page_path:
            _say(f"to review: {self.result.page_path}")
        if self.result.run_id and outcome.num_done:
            _say(f"to undo: captune undo {self.result.run_id}")

    def describe_stop(self) -> str:
        """Return what is kept when a signal ends the command, and how to resume."""
        num_done = self.result.outcome.num_done
        kept = format_count(num_done, "caption is", plural="captions are")
        return f"{kept} kept: run the same command again to resume"

    def _show_failures(self) -> None:
        outcome = self.result.outcome
        for path, error in outcome.failures:
            fix = f" ({error.fix})" if error.fix else ""
            _say(f"  failed:{error.what}  {path}{fix}")
        if outcome.num_failed > len(outcome.failures):
            more = outcome.num_failed - len(outcome.failures)
            _say(f"  and {more} more, all in {self.result.failures_path}")

    def _speed(self) -> str:
        outcome = self.result.outcome
        # Without the page of the run, which is written after the last caption.
        seconds = (self.result.ended or time.perf_counter()) - self.result.began
        num = outcome.num_done
        return (
            f"{num} captioned in {seconds:.1f} s, {num / max(seconds, 1e-9):.1f} images/s on"
            f" {self.result.hardware}"
        )

    def _advance(self, progress: Progress, outcome: Outcome) -> None:
        num = outcome.num_generated + outcome.num_reused
        seconds = time.perf_counter() - self.result.began
        parts = [f"{outcome.num_skipped} skipped"] if outcome.num_skipped else []
        parts += [f"{outcome.num_failed} failed"] if outcome.num_failed else []
        if self.result.began and num:
            parts.append(f"{num / max(seconds, 1e-9):.1f} images/s")
        if self.result.num_total is not None:
            wanted = self.result.num_total - outcome.num_skipped
            progress.expect(wanted if self.limit is None else min(wanted, self.limit))
        progress.advance(status=", ".join(parts))


def _describe_captions(outcome: Outcome) -> Iterator[str]:
    """Yield notes on the captions of a run."""
    if outcome.num_reused:
        reused = format_count(outcome.num_reused, "caption")
        yield f"{reused} reused from identical images or earlier runs"
    if outcome.num_repetitive:
        looping = format_count(outcome.num_repetitive, "caption repeats", plural="captions repeat")
        yield f"{looping} the same words (--clean=repeat trims them)"
    if outcome.num_truncated:
        truncated = format_count(outcome.num_truncated, "truncated image")
        yield f"{truncated} captioned (flag `truncated`)"


def _describe_others(outcome: Outcome) -> Iterator[str]:
    """Yield the outcomes of the other images."""
    if outcome.num_skipped:
        yield f"{outcome.num_skipped} already had a caption (--force captions them again)"
    if outcome.num_kept:
        edited = format_count(outcome.num_kept, "file was", plural="files were")
        yield f"{edited} edited in the meantime and kept"
    if outcome.num_links:
        links = format_count(
            outcome.num_links,
            "link that leads outside the folder was",
            plural="links that lead outside the folder were",
        )
        yield f"{links} not followed (--follow)"
    if outcome.num_failed:
        yield f"{outcome.num_failed} failed:"


def _say(text: str) -> None:
    print_line(text, to_stderr=True)
