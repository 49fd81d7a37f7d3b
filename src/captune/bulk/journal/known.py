"""What the journal knows about images: contents, captions, outputs and failures, in chunks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from captune.bulk.items import Item
from captune.bulk.journal.database import Database
from captune.bulk.journal.names import decode_name, encode_name
from captune.errors import ImageError
from captune.records import Prediction

FileState = tuple[int, int]
"""Size in bytes and time of the last change in nanoseconds."""


@dataclass(frozen=True, slots=True)
class DoneOutput:
    """An output that has been written.

    Attributes:
        recipe: Number of the model, decoding and wording.
        run: Number of the run.
        state: The file as it was written; `None`: it is a row of a collected output.
    """

    recipe: int
    run: int
    state: FileState | None


@dataclass(slots=True)
class KnownImage:
    """What the journal knows about one image.

    Attributes:
        content: Hash of its content; `None`: unknown, or the file has changed since.
        outputs: What is written, by format.
        failure: Why it failed; `None`: it did not, or the file has changed since.
        failed_maker: Number of the model and decoding that it failed with.
    """

    content: bytes | None = None
    outputs: dict[str, DoneOutput] = field(default_factory=dict)
    failure: ImageError | None = None
    failed_maker: int = 0


def look_up(database: Database, items: Sequence[Item]) -> list[KnownImage]:
    """Return what is known of each item, in order."""
    found = {encode_name(item.name): KnownImage() for item in items}
    by_name = {encode_name(item.name): item for item in items}
    names, marks = list(found), ",".join("?" * len(found))
    for name, size, mtime_ns, content in database.rows(
        f"SELECT name, size, mtime_ns, content FROM files WHERE name IN ({marks})", names
    ):
        item = by_name[name]
        if size is not None and (size, mtime_ns) == (item.size, item.mtime_ns):
            found[name].content = content
    for name, form, recipe, run, size, mtime_ns in database.rows(
        f"SELECT name, format, recipe, run, size, mtime_ns FROM outputs WHERE name IN ({marks})",
        names,
    ):
        state = None if size is None else (size, mtime_ns)
        found[name].outputs[form] = DoneOutput(recipe, run, state)
    for name, maker, code, place, fix, size, mtime_ns in database.rows(
        "SELECT name, maker, code, place, fix, size, mtime_ns FROM failures"
        f" WHERE name IN ({marks})",
        names,
    ):
        if (size, mtime_ns) == (by_name[name].size, by_name[name].mtime_ns):
            found[name].failure = ImageError(code, where=place, fix=fix)
            found[name].failed_maker = maker
    return [found[encode_name(item.name)] for item in items]


def captions_by_content(
    database: Database, contents: Iterable[bytes], *, maker: int, run: int | None = None
) -> dict[bytes, Prediction]:
    """Return, by content, captions that are in the journal; their image_id is empty.

    Args:
        database: The journal.
        contents: Hashes of the wanted contents.
        maker: Number of the model and decoding.
        run: Number of the run whose captions count; `None`: those of all runs.
    """
    wanted = list(dict.fromkeys(contents))
    marks = ",".join("?" * len(wanted))
    rows = database.rows(
        "SELECT content, run, caption, mean_logprob, num_tokens, finish_reason, flags"
        f" FROM captions WHERE maker = ? AND content IN ({marks})",
        (maker, *wanted),
    )
    return {
        content: Prediction(
            "", text, math.nan if logprob is None else logprob, tokens, reason, tuple(flags.split())
        )
        for content, of_run, text, logprob, tokens, reason, flags in rows
        if run is None or of_run == run
    }


def count_failures(database: Database) -> int:
    """Return how many images failed in any run and have no caption yet."""
    ((count,),) = database.rows("SELECT count(*) FROM failures")
    return int(count)


def list_failures(database: Database) -> Iterable[dict[str, object]]:
    """Yield every failed image as a row of failures.jsonl, a few at a time."""
    after = b""
    while rows := database.rows(
        "SELECT name, code, place, fix FROM failures WHERE name > ? ORDER BY name LIMIT 1000",
        (after,),
    ):
        for name, code, place, fix in rows:
            yield {"image_id": decode_name(name), "code": code, "reason": place or code, "fix": fix}
        after = rows[-1][0]
