"""Turn found images into tasks, in chunks: one query per chunk, contents read in threads.

Everything streams: a million files do not need a list of a million names.
"""

from __future__ import annotations

import itertools
import re
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from captune.bulk.feed.contents import hash_content
from captune.bulk.feed.name_clashes import NameGuard
from captune.bulk.feed.needs import Needs
from captune.bulk.items import FoundItem, Item, look_at
from captune.bulk.journal.database import Database
from captune.bulk.journal.known import KnownImage, captions_by_content, load_added, look_up
from captune.bulk.journal.names import encode_name
from captune.bulk.journal.results import earlier_among, written_among
from captune.bulk.metadata import EMBED_UNSUPPORTED
from captune.bulk.writing.tasks import CaptionTask, Outcome
from captune.errors import RecipeError
from captune.inference import ImageFile, SkippedLink, UnreadableImage
from captune.records import Prediction

_MAX_CHUNK = 256
_HASH_THREADS = 4
# The model may have failed for lack of memory, and may succeed the next time. An image that cannot
# hold its caption gets an XMP file, which a kill may have prevented.
_RETRIED = {
    *("model_error", EMBED_UNSUPPORTED),
    # Causes that can go away while the file stays the same: permissions, packages, flags, names.
    *("io", "missing", "needs_plugin", "no_file", "name_collision", "name_too_long", "changed"),
}

_Listed = Item | ImageFile | UnreadableImage
_Hashed = list[tuple[CaptionTask, Future[bytes | None] | None]]


@dataclass(frozen=True, slots=True)
class RunShare:
    """One of several runs that divide the images of one command.

    Attributes:
        index: From 1.
        count: Number of runs.
    """

    index: int
    count: int

    def has(self, name: str) -> bool:
        """Return whether an image belongs to this run; the name alone decides, in any order."""
        return zlib.crc32(encode_name(name)) % self.count == self.index - 1


def read_share(text: str) -> RunShare:
    """Return the share that `--shard 2/8` names.

    Raises:
        RecipeError: It is not of the form i/n, or i is not 1 to n.
    """
    index, slash, count = text.partition("/")
    are_numbers = re.fullmatch(r"[0-9]{1,6}/[0-9]{1,6}", text) is not None
    if slash and are_numbers and 1 <= int(index) <= int(count):
        return RunShare(int(index), int(count))
    raise RecipeError(
        f"{text!r} is not a share of a run",
        where="--shard",
        fix="give i/n with i from 1 to n, such as 2/8",
    )


@dataclass(frozen=True, slots=True)
class FeedSettings:
    """Which images become tasks.

    Attributes:
        limit: Maximum number of tasks, without those that are known to fail; `None`: all.
        retry_failed: Whether to retry images that failed before.
        allow_truncated: Whether truncated images get captions; those that failed are retried.
        share: The share of this run; `None`: all images.
    """

    limit: int | None = None
    retry_failed: bool = False
    share: RunShare | None = None
    allow_truncated: bool = False


class Planner:
    """Yields the tasks of a run.

    Attributes:
        recovered: Images that failed in an earlier run and need nothing now.
    """

    def __init__(
        self,
        needs: Needs,
        settings: FeedSettings,
        *,
        outcome: Outcome,
        database: Database | None = None,
        guard: NameGuard | None = None,
    ) -> None:
        """Keep what decides which images become tasks.

        Args:
            needs: Decides which outputs lack an image.
            settings: Which images become tasks.
            outcome: Counts what is found and skipped.
            database: The journal; `None`: there is none.
            guard: Finds images that would share a file; `None`: none can.
        """
        self.recovered: list[str] = []
        self._needs, self._settings, self._outcome = needs, settings, outcome
        self._database, self._guard = database, guard

    def tasks(self, found: Iterable[FoundItem]) -> Iterator[CaptionTask]:
        """Yield the images that need an output, in order; some have a caption or failure already.

        Raises:
            OutputError: Images would share a file, an input cannot be written or a folder is held
                by another run, or an image has a caption and the policy is `error`.
        """
        run = self._needs.run
        if self._needs.adds and self._database is not None:
            load_added(self._database, 0 if run is None else run.recipe)
        tasks = self._tasks(self._without_links(found))
        return tasks if self._settings.limit is None else _limited(tasks, self._settings.limit)

    def _without_links(self, found: Iterable[FoundItem]) -> Iterator[_Listed]:
        for one in found:
            if isinstance(one, SkippedLink):
                self._outcome.num_links += 1
            else:
                yield one

    def _tasks(self, found: Iterable[_Listed]) -> Iterator[CaptionTask]:
        ahead: deque[_Hashed] = deque()
        with ThreadPoolExecutor(_HASH_THREADS, "captune-hash") as pool:
            for chunk in _growing_chunks(found):
                ahead.append(self._start(chunk, pool))
                if len(ahead) > 1:
                    yield from self._complete(ahead.popleft())
            while ahead:
                yield from self._complete(ahead.popleft())

    def _start(self, chunk: Sequence[_Listed], pool: ThreadPoolExecutor) -> _Hashed:
        share = self._settings.share
        listed = [one for one in chunk if share is None or share.has(one.name)]
        self._outcome.num_found += len(listed)
        final = self._find_final(listed)
        self._outcome.num_skipped += len(final)
        rest = (one for one in listed if one.name not in final)
        mine = [look_at(one) if isinstance(one, ImageFile) else one for one in rest]
        items = [one for one in mine if isinstance(one, Item)]
        known = dict(zip((item.name for item in items), self._look_up(items), strict=True))
        earlier = self._earlier(items)
        started: _Hashed = []
        for one in mine:
            if isinstance(one, UnreadableImage):
                started.append((CaptionTask(Item(one.name, Path(one.name)), error=one.error), None))
                continue
            task = self._task_for(one, known[one.name], earlier)
            if task is None:
                self._outcome.num_skipped += 1
                if known[one.name].failure is not None:
                    self.recovered.append(one.name)
            elif task.error is not None or task.content is not None:
                started.append((task, None))
            else:
                started.append((task, pool.submit(hash_content, one)))
        return started

    def _task_for(
        self, item: Item, known: KnownImage, earlier: Mapping[str, set[str]]
    ) -> CaptionTask | None:
        clash = self._guard.check(item) if self._guard else None
        if clash is not None:
            return CaptionTask(item, error=clash)
        task = self._needs.of(item, known, earlier=earlier)
        if task is None:
            return None
        if task.targets and self._guard is not None:
            task.error = task.error or self._guard.check_folder(item)
        if task.error is not None or known.failure is None or self._settings.retry_failed:
            return task
        run = self._needs.run
        is_same = run is not None and known.failed_maker == run.maker
        if is_same and not self._is_retried(known.failure.what):
            task.error = known.failure
        return task

    def _complete(self, started: _Hashed) -> Iterator[CaptionTask]:
        for task, hashing in started:
            if hashing is not None:
                task.content = hashing.result()
        captions = self._captions([task for task, _ in started])
        allowed = self._settings.allow_truncated
        for task, _ in started:
            if task.error is None and task.content is not None:
                known = captions.get(task.content)
                is_cut = known is not None and "truncated" in known.flags
                task.prediction = None if is_cut and not allowed else known
            yield task

    def _is_retried(self, reason: str) -> bool:
        is_allowed = reason == "truncated" and self._settings.allow_truncated
        return is_allowed or reason in _RETRIED or reason.startswith("url_")

    def _captions(self, tasks: Sequence[CaptionTask]) -> Mapping[bytes, Prediction]:
        run = self._needs.run
        contents = [task.content for task in tasks if task.content and not task.error]
        if self._database is None or run is None or not contents:
            return {}
        # `overwrite` asks for new captions; those of this run are new.
        of_run = run.number if run.existing == "overwrite" else None
        return captions_by_content(self._database, contents, maker=run.maker, run=of_run)

    def _look_up(self, items: Sequence[Item]) -> list[KnownImage]:
        if self._database is None:
            return [KnownImage() for _ in items]
        return look_up(self._database, items, with_added=self._needs.adds)

    def _find_final(self, chunk: Sequence[_Listed]) -> set[str]:
        """Return the names of the images that certainly need nothing."""
        if self._database is None or not self._needs.are_rows_final:
            return set()
        final = {one.name for one in chunk if not isinstance(one, UnreadableImage)}
        for form in self._needs.collected:
            there = written_among(self._database, form, names=final)
            if self._needs.existing != "error":
                there |= earlier_among(self._database, form, names=final - there)
            final &= there
        return final

    def _earlier(self, items: Sequence[Item]) -> dict[str, set[str]]:
        if self._database is None:
            return {}
        names = [item.name for item in items]
        return {
            form: earlier_among(self._database, form, names=names) for form in self._needs.collected
        }


def _limited(tasks: Iterator[CaptionTask], limit: int) -> Iterator[CaptionTask]:
    """Yield tasks until there are so many; known failures would use up the limit of each run."""
    for task in tasks:
        yield task
        limit -= task.error is None
        if not limit:
            return


def _growing_chunks(found: Iterable[_Listed]) -> Iterator[list[_Listed]]:
    """Yield 1, 2, 4 ... items at a time: the first image need not wait for many others."""
    source, size = iter(found), 1
    while chunk := list(itertools.islice(source, size)):
        yield chunk
        size = min(2 * size, _MAX_CHUNK)
