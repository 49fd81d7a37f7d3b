"""`captune compare --images`: images that are shown and not scored, from files or URLs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from captune.errors import DataError
from captune.records import CaptionRecord
from captune.storage import expand_home

if TYPE_CHECKING:
    from captune.inference import UrlRules


def read_chosen(images: Sequence[str], rules: UrlRules | None) -> list[CaptionRecord]:
    """Return records of the chosen images; URLs are fetched now.

    Args:
        images: Paths and URLs.
        rules: Which URLs may be opened; `None`: none.

    Raises:
        DataError: A file does not exist, or a URL is not allowed.
        ImageError: A URL may not be opened, is too slow, or is not an image.
    """
    from captune.inference import is_url

    records = []
    for name in images:
        path = expand_home(name)
        # The prefix separates them from the ids of the data set.
        image_id = f"chosen:{name}"
        if path.is_file():
            records.append(CaptionRecord(image_id, path, file_name=path.name))
        elif not is_url(name):
            raise DataError(f"{name} is not a file", where="--images", fix="give an image file")
        elif rules is None:
            raise DataError(
                f"{name} is a URL",
                where="--images",
                fix="allow it with --allow-urls, or download it and give its path",
            )
        else:
            records.append(_fetch(name, image_id, rules=rules))
    return records


def _fetch(url: str, image_id: str, *, rules: UrlRules) -> CaptionRecord:
    from captune.data import open_decoder
    from captune.inference import UrlFetcher
    from captune.net import url_path

    content = UrlFetcher(rules).fetch(url)
    # Content that is not an image stops the command before any model is loaded.
    with open_decoder("isolated") as decoder:
        decoder.decode(content, lambda image: image.size)
    last = PurePosixPath(url_path(url)).name
    return CaptionRecord(image_id, content, file_name=last or url)
