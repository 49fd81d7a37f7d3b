"""What made the parts of a merge, so that it silently mixes no two models or decodings.

The runs that wrote the parts recorded it in their journals. The joined file has no run, so it gets
the record that captune 0.1 wrote beside its files, which later runs on that file compare too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from captune.bulk.journal.database import Database
from captune.bulk.journal.runs import last_run, settings_of
from captune.bulk.settings import follow_link, name_of_ending
from captune.bulk.state.maker import Maker, differences, old_record, read_old_maker
from captune.bulk.state.place import JournalPlace
from captune.errors import OutputError
from captune.storage import STATE_FOLDER, write_text


def find_common_maker(parts: Sequence[Path], *, force: bool) -> Maker | None:
    """Return what made all parts; `None`: several makers, or it is not known for each.

    Args:
        parts: Finished files of captions.
        force: Accept several makers.

    Raises:
        OutputError: Two parts have different makers; both are named.
    """
    first: tuple[Path, Maker] | None = None
    are_known, are_equal = True, True
    for part in parts:
        maker = _read_maker(follow_link(part))
        if maker is None:
            are_known = False
            continue
        first = first or (part, maker)
        others = differences(first[1], maker)
        if others and not force:
            raise OutputError(
                f"{first[0]} and {part} hold captions of different models or decoding"
                f" ({', '.join(others)})",
                where="PART",
                fix="caption the images of one again with the settings of the other, or join them"
                " as they are with --force",
            )
        are_equal = are_equal and not others
    return first[1] if first is not None and are_known and are_equal else None


def record_maker(out: Path, maker: Maker | None) -> None:
    """Record what made a joined file, for later runs that add to it; `None` removes a record.

    Raises:
        OutputError: It cannot be written.
    """
    place = old_record(out)
    if maker is not None:
        write_text(place, json.dumps(maker))
    else:
        place.unlink(missing_ok=True)


def _read_maker(path: Path) -> Maker | None:
    """Return what made a file of captions; `None`: it is not known."""
    form = name_of_ending(path)
    for place in _journals(path, form):
        try:
            database = Database(place)
        except OutputError:
            # It is damaged, or its disk is read-only; the captions can still be joined.
            continue
        try:
            run = last_run(database, form)
            if run is not None:
                return settings_of(database, run.recipe)
        except OutputError:
            continue
        finally:
            database.close()
    return read_old_maker(path)


def _journals(path: Path, form: str) -> Iterator[Path]:
    """Yield the journals that may have written a file: its own, and those of its folder."""
    folder = path.parent / STATE_FOLDER
    own = JournalPlace(path.parent, path.name).database
    if own.is_file():
        yield own
    for place in sorted(folder.glob("bulk*.sqlite")):
        if JournalPlace(path.parent, place.stem).collected(form) == path:
            yield place
