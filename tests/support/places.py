"""Folders: the checkout, and the real data that CAPTUNE_REAL_DATA names."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Without the variable, a folder that does not exist: tests marked `real_data` are skipped.
REAL_DATA = Path(os.environ.get("CAPTUNE_REAL_DATA") or ROOT / "no-real-data").resolve()
