"""A folder of images, each with its captions in a text file beside it: `a.jpg`, `a.txt`.

`.txt` or `.caption`, one caption per line; `a.jpg.txt` works too. Image taggers and diffusion
trainers use this layout.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from captune.data.dataset import CHECK_DATA, LoadedData, LoadOptions
from captune.data.images import IMAGE_SUFFIXES
from captune.data.names.split_names import parse_split
from captune.data.rows.gather import Row, gather_rows
from captune.data.rows.text import read_text
from captune.errors import DataError
from captune.suggest import format_count

_CAPTION_SUFFIXES = (".txt", ".caption")


def find_sidecars(place: Path) -> str | None:
    """Return how many images of the folder have a caption file, as text; `None`: none has."""
    if not place.is_dir():
        return None
    number = sum(_find_sidecar(path) is not None for path in walk_images(place))
    return f"{format_count(number, 'image')} with a caption file beside" if number else None


def read_sidecars(place: Path, options: LoadOptions) -> LoadedData:
    """Read images and the captions beside them; folders train, val and test give the splits.

    Images without a caption file are listed as `no_caption`.

    Raises:
        DataError: It is not a folder, or two images share one caption file.
    """
    if not place.is_dir():
        raise DataError(
            f"{place} is not a folder of images with .txt or .caption beside them",
            fix=CHECK_DATA,
        )
    notes: list[str] = []
    rows = _iter_rows(place, notes=notes)
    return gather_rows(rows, options, format="sidecar", root=place, notes=notes)


def _iter_rows(root: Path, *, notes: list[str]) -> Iterator[Row]:
    owners: dict[Path, Path] = {}
    for path in walk_images(root, notes=notes):
        sidecar = _find_sidecar(path)
        captions: tuple[str, ...] = ()
        if sidecar is not None:
            other = owners.setdefault(sidecar, path)
            if other != path:
                raise DataError(
                    f"two images share the caption file {sidecar}: {other.name} and {path.name}",
                    fix=f"name the captions after the whole file name: {path.name}.txt",
                )
            lines = read_text(sidecar, notes=notes).split("\n")
            # Blank lines separate captions; a file of blank lines has one empty caption.
            captions = tuple(line for line in lines if line.strip()) or ("",)
        name = path.relative_to(root)
        yield Row(
            name=name.as_posix(),
            captions=captions,
            image=path,
            split=parse_split(name.parts[0]) if len(name.parts) > 1 else None,
            where=str(sidecar or ""),
        )


def walk_images(root: Path, *, notes: list[str] | None = None) -> Iterator[Path]:
    """Yield the image files in a folder and below it, sorted by name, without hidden ones.

    Args:
        root: The folder.
        notes: A sentence is appended for each folder that cannot be read, such as `lost+found`.
    """

    def note(error: OSError) -> None:
        if notes is not None:
            reason = error.strerror or error
            notes.append(f"the folder {error.filename} cannot be read, and is skipped: {reason}")

    # os.walk does not follow links to folders: no endless loops, and nothing outside is read.
    for folder, subfolders, files in os.walk(root, onerror=note):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(files):
            if Path(name).suffix.lower() in IMAGE_SUFFIXES and not name.startswith("."):
                yield Path(folder) / name


def _find_sidecar(path: Path) -> Path | None:
    for suffix in _CAPTION_SUFFIXES:
        for candidate in (path.with_name(path.name + suffix), path.with_suffix(suffix)):
            if _is_there(candidate):
                return candidate
    return None


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        # With an image name of 255 bytes, `a.jpg.txt` is too long.
        return False
