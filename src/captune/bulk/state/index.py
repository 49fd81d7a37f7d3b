"""Find the journal that holds a run, so that `captune undo ID` needs no path.

A small file per run in the cache folder names the journal. Without it, the user names the output.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from captune.bulk.journal.database import Database
from captune.bulk.journal.runs import last_writing_run
from captune.bulk.settings import follow_link, local_place
from captune.errors import CaptuneError, OutputError
from captune.storage import STATE_FOLDER, find_cache_folder, read_json_object, write_json
from captune.suggest import quote_words

_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")


def note_run(run_id: str, journal: Path) -> None:
    """Record where the journal of a run is; without a writable cache, undo needs a path."""
    with suppress(CaptuneError):
        write_json(_note(run_id), {"journal": str(journal.absolute())})


def find_journal(run: str) -> tuple[Path, str]:
    """Return the journal of a run, and the run's id; empty: the newest in that journal.

    Args:
        run: A run's id, an output file, or a folder with outputs; in object storage too.

    Raises:
        OutputError: There is no such run.
    """
    if _ID.fullmatch(run) and not Path(run).exists():
        with suppress(CaptuneError):
            journal = Path(str(read_json_object(_note(run), fix="").get("journal", "")))
            if journal.is_file():
                return journal, run
        raise OutputError(
            f"no journal of the run {run} is known on this machine",
            fix="give the output folder, or the output file: captune undo FOLDER",
        )
    path = follow_link(local_place(Path(run)))
    names = [path / STATE_FOLDER / "bulk.sqlite"]
    names.append(path.parent / STATE_FOLDER / f"{path.name}.sqlite")
    found = [name for name in names if name.is_file()]
    found = found or sorted((path / STATE_FOLDER).glob("*.sqlite"))
    if not found:
        raise OutputError(
            f"there is no journal of a bulk run in {path}",
            fix="give the id that the run printed, its --out, or, if it had none, the folder of"
            " its images",
        )
    if len(found) > 1:
        raise OutputError(
            f"{path} holds the journals of several outputs:"
            f" {', '.join(name.stem for name in found)}",
            fix="name a run: "
            + ", ".join(f"captune undo {quote_words(_newest(name))}" for name in found),
        )
    return found[0], ""


def _newest(journal: Path) -> str:
    """Return the id of the newest run of a journal that is not undone, else the journal's name."""
    with suppress(CaptuneError):
        database = Database(journal)
        try:
            run = last_writing_run(database)
        finally:
            database.close()
        if run is not None:
            return run.id
    return str(journal.parent.parent / journal.stem)


def _note(run_id: str) -> Path:
    return find_cache_folder() / "bulk-runs" / f"{run_id}.json"
