"""exiftool as an oracle: what another program reads in a file's metadata."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

needs_exiftool = pytest.mark.skipif(
    shutil.which("exiftool") is None,
    reason="exiftool is not installed (apt-get install libimage-exiftool-perl)",
)


# Facts about the file rather than its metadata.
_OF_THE_FILE = ("System", "ExifTool", "File", "Composite", "SourceFile")


def read_tags(path: Path) -> dict[str, object]:
    """Return `group:tag` -> value of all metadata that exiftool finds."""
    run = subprocess.run(
        ["exiftool", "-json", "-G1", "-a", "-u", "-b", "-struct", str(path)],
        capture_output=True,
        check=True,
    )
    (found,) = json.loads(run.stdout)
    return {key: value for key, value in found.items() if key.partition(":")[0] not in _OF_THE_FILE}


def warnings_of(path: Path) -> list[str]:
    """Return what exiftool finds wrong."""
    run = subprocess.run(
        ["exiftool", "-validate", "-a", "-s3", "-warning", "-error", str(path)],
        capture_output=True,
        check=False,
        text=True,
    )
    return run.stdout.splitlines()
