"""Print the bytes that the records of captions.jsonl in a folder take, as JSON.

A process of its own measures them: in the process of the tests, a thread of another test may
allocate at the same time.
"""

from __future__ import annotations

import json
import sys
import tracemalloc
from pathlib import Path

from captune.data import load_records, load_splits, save_splits


def measure(folder: Path) -> dict[str, int]:
    """Load, save and map the records of `folder`, once for what is imported, then counted."""
    load_records(folder / "captions.jsonl")
    tracemalloc.start()
    records = load_records(folder / "captions.jsonl").records
    held = tracemalloc.get_traced_memory()[0]
    as_objects = list(records)
    objects = tracemalloc.get_traced_memory()[0] - held
    save_splits(records, folder / "run")
    del records, as_objects
    before = tracemalloc.get_traced_memory()[0]
    saved = load_splits(folder / "run")
    mapped = tracemalloc.get_traced_memory()[0] - before
    return {"held": held, "objects": objects, "mapped": mapped, "saved": len(saved)}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(Path(sys.argv[1]))))
