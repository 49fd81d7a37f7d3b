"""What the journal knows about images: contents, captions, outputs and failures, in chunks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from captune.bulk.items import Item
from captune.bulk.journal.database import Database
from captune.bulk.journal.names import decode_name, encode_name, image_key
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
        added: The formats whose file holds a text that this run would add; see `load_added`.
        failure: Why it failed; `None`: it did not, or the file has changed since.
        failed_maker: Number of the model and decoding that it failed with.
    """

    content: bytes | None = None
    outputs: dict[str, DoneOutput] = field(default_factory=dict)
    added: set[str] = field(default_factory=set)
    failure: ImageError | None = None
    failed_maker: int = 0


def load_added(database: Database, recipe: int) -> None:
    """Keep for `look_up` which files hold the text of a recipe, where texts are added to others.

    The newest output alone does not tell: a file holds the texts of several recipes, until one of
    them replaces it. A temporary table, not a set: there may be millions.
    """
    database.write(
        "CREATE TEMP TABLE IF NOT EXISTS added(name BLOB, format TEXT, PRIMARY KEY(name, format))"
        " WITHOUT ROWID"
    )
    database.write("DELETE FROM temp.added")
    database.write(
        "INSERT INTO temp.added SELECT name, format FROM changes"
        " JOIN runs ON runs.number = changes.run WHERE changes.state = 'done'"
        " GROUP BY name, format HAVING max(CASE WHEN changes.recipe = ? THEN changes.id END)"
        " >= max(CASE WHEN existing IN ('append', 'prepend') THEN 0 ELSE changes.id END)",
        (recipe,),
    )


def look_up(
    database: Database, items: Sequence[Item], *, with_added: bool = False
) -> list[KnownImage]:
    """Return what is known of each item, in order.

    Args:
        database: The journal.
        items: The images.
        with_added: Whether to fill in `added`; needs `load_added` first.
    """
    known = [KnownImage() for _ in items]
    by_name = {encode_name(item.name): place for place, item in enumerate(items)}
    keys = (encode_name(image_key(item, database.folder)) for item in items)
    by_key = {key: place for place, key in enumerate(keys)}
    for key, size, mtime_ns, content in database.rows_among(
        "SELECT name, size, mtime_ns, content FROM files WHERE name IN", list(by_key)
    ):
        item = items[by_key[key]]
        if size is not None and (size, mtime_ns) == (item.size, item.mtime_ns):
            known[by_key[key]].content = content
    for name, form, recipe, run, size, mtime_ns in database.rows_among(
        "SELECT name, format, recipe, run, size, mtime_ns FROM outputs WHERE name IN",
        list(by_name | by_key),
    ):
        # Rows of a collected output are found by the image's name, files by its place.
        place = by_name.get(name) if size is None else by_key.get(name)
        if place is not None:
            state = None if size is None else (size, mtime_ns)
            known[place].outputs[form] = DoneOutput(recipe, run, state)
    if with_added:
        for key, form in database.rows_among(
            "SELECT name, format FROM temp.added WHERE name IN", list(by_key)
        ):
            known[by_key[key]].added.add(form)
    for name, maker, code, reason, fix, size, mtime_ns in database.rows_among(
        "SELECT name, maker, code, place, fix, size, mtime_ns FROM failures WHERE name IN",
        list(by_name),
    ):
        item = items[by_name[name]]
        if (size, mtime_ns) == (item.size, item.mtime_ns):
            known[by_name[name]].failure = ImageError(code, where=reason, fix=fix)
            known[by_name[name]].failed_maker = maker
    return known


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
    rows = database.rows_among(
        "SELECT content, run, caption, mean_logprob, num_tokens, finish_reason, flags"
        " FROM captions WHERE maker = ? AND content IN",
        wanted,
        values=(maker,),
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
