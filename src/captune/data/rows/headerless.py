"""Tables without a header, whose columns are recognised by the first rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from captune.data.dataset import LoadOptions
from captune.data.images import IMAGE_SUFFIXES
from captune.data.names.image_finder import ImageFinder, usual_folders
from captune.data.names.split_names import parse_split
from captune.data.rows.columns import CAPTION_COLUMNS, IMAGE_COLUMNS


def name_columns(
    rows: Sequence[Sequence[str]], *, folder: Path, options: LoadOptions
) -> tuple[str, ...] | None:
    """Return names for the columns, in order, where the first row is data.

    The first row is data when one of its cells has the ending of an image or names an existing
    file. The image's column is named `image`, a single column of texts `caption`, one of splits
    `split`, and all others by number from 1.

    Args:
        rows: The first rows, at least one.
        folder: Folder of the table.
        options: The image folder, and the columns where they are given by number.

    Returns:
        The names; `None` when the first row is a header or may be one.
    """
    first = [cell.strip() for cell in rows[0]]
    if len(first) < 2 or any(_is_title(cell) for cell in first):
        return None
    root = options.image_root
    finder = ImageFinder(
        (*((root,) if root else ()), *usual_folders(folder)), bounds=options.list_bounds(folder)
    )
    images = [place for place, cell in enumerate(first) if _names_image(cell, finder)]
    if not images:
        return None
    names = [str(number) for number in range(1, len(first) + 1)]
    if options.image_column not in names:
        names[images[0]] = "image"
    columns = [
        [row[place].strip() for row in rows if place < len(row)] for place in range(len(first))
    ]
    others = [place for place in range(len(first)) if names[place] != "image"]
    splits = [place for place in others if all(parse_split(cell) for cell in columns[place])]
    if len(splits) == 1 and len(others) > 1:
        names[splits[0]] = "split"
    texts = [
        place
        for place in others
        if place not in splits and not all(_is_number(cell) for cell in columns[place])
    ]
    if len(texts) == 1 and options.caption_column not in names:
        names[texts[0]] = "caption"
    return tuple(names)


def _is_title(cell: str) -> bool:
    return cell.lower() in (*IMAGE_COLUMNS, *CAPTION_COLUMNS)


def _names_image(cell: str, finder: ImageFinder) -> bool:
    is_file_name = PurePosixPath(cell).suffix.lower() in IMAGE_SUFFIXES
    return is_file_name or finder.find(cell) is not None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return not cell
    return True
