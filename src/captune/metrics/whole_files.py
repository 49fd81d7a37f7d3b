"""Files that appear whole or not at all: written aside, synced, renamed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from captune.errors import OutputError


@contextmanager
def open_whole(path: Path) -> Iterator[IO[bytes]]:
    """A binary file to write; it takes its place when the block ends without an error.

    Raises:
        OutputError: The place cannot be written.
    """
    aside: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        aside = Path(name)
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes private files; a result is as readable as any other.
        mask = os.umask(0o022)
        os.umask(mask)
        aside.chmod(0o666 & ~mask)
        aside.replace(path)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror or error}",
            fix="choose another place, or make room there and the right to write",
        ) from error
    finally:
        if aside is not None:
            aside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text whole.

    Raises:
        OutputError: The place cannot be written.
    """
    with open_whole(path) as file:
        file.write(text.encode("utf-8", "surrogatepass"))
