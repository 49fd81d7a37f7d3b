"""exiftool as an oracle: what another program reads in a file's metadata."""

from __future__ import annotations

import atexit
import json
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

needs_exiftool = pytest.mark.skipif(
    shutil.which("exiftool") is None,
    reason="exiftool is not installed (apt-get install libimage-exiftool-perl)",
)


# Facts about the file rather than its metadata.
_OF_THE_FILE = ("System", "ExifTool", "File", "Composite", "SourceFile")
_READY = "{ready}\n"


@cache
def _started() -> subprocess.Popen[str]:
    """Start the one process that does all commands: its start takes longer than a command."""
    process = subprocess.Popen(
        ["exiftool", "-stay_open", "True", "-@", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(process.communicate, "-stay_open\nFalse\n", timeout=20)
    return process


def run_exiftool(*words: object) -> str:
    """Return what exiftool prints for the words of a command."""
    process = _started()
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("".join(f"{word}\n" for word in (*words, "-execute")))
    process.stdin.flush()
    lines: list[str] = []
    while not lines or not lines[-1].endswith(_READY):
        lines.append(process.stdout.readline())
        assert lines[-1], "exiftool ended"
    return "".join(lines).removesuffix(_READY)


def read_tags(path: Path) -> dict[str, object]:
    """Return `group:tag` -> value of all metadata that exiftool finds."""
    (found,) = json.loads(run_exiftool("-json", "-G1", "-a", "-u", "-b", "-struct", path))
    return {key: value for key, value in found.items() if key.partition(":")[0] not in _OF_THE_FILE}


def write_tags(path: Path, *words: str) -> None:
    """Let exiftool change a file."""
    assert "1 image files updated" in run_exiftool("-overwrite_original", *words, path)


def warnings_of(path: Path) -> list[str]:
    """Return what exiftool finds wrong."""
    return run_exiftool("-validate", "-a", "-s3", "-warning", "-error", path).splitlines()
