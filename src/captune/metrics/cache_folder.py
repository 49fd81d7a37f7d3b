"""Where captune keeps what is made once for a user: METEOR's tables, images' features."""

from __future__ import annotations

import os
from pathlib import Path


def find_cache_folder() -> Path:
    """CAPTUNE_CACHE, else `captune` in the user's cache folder; not made here."""
    own = os.environ.get("CAPTUNE_CACHE")
    if own:
        return Path(own)
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "captune"
