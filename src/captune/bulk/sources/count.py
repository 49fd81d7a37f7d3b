"""Count the images of a run while it works, to estimate the time left."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from glob import has_magic
from pathlib import Path

from captune.bulk.feed.planner import RunShare
from captune.bulk.items import Item
from captune.bulk.sources.find import SourceOptions, find_items
from captune.bulk.sources.lists import STDIN
from captune.errors import CaptuneError
from captune.inference import SkippedLink

# The search is pure Python: without pauses, it would keep the interpreter from the run.
_PIECE, _PAUSE_SECONDS = 100, 0.002


def count_images(
    inputs: Sequence[str], options: SourceOptions, *, share: RunShare | None = None
) -> int | None:
    """Return how many images the inputs name.

    Args:
        inputs: Inputs as the user named them.
        options: How to read them.
        share: Count those of this share only.

    Returns:
        `None`: to count, archives, tables, URLs or stdin would have to be read, or a search failed.
    """
    if not all(os.path.lexists(text) or has_magic(text) for text in inputs):
        return None
    listed = options.list_from
    if listed is not None and (listed == STDIN or not Path(listed).is_file()):
        return None
    count = 0
    try:
        for place, one in enumerate(find_items(inputs, options)):
            if place % _PIECE == 0:
                time.sleep(_PAUSE_SECONDS)
            if isinstance(one, SkippedLink):
                continue
            if isinstance(one, Item):
                return None
            count += share is None or share.has(one.name)
    except CaptuneError:
        # The run itself reports it.
        return None
    return count
