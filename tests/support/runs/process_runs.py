"""The command line as each of several processes runs it; leaves its exit codes in a file."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from captune.cli import main


def exit_code(words: list[str]) -> int:
    """What the command line exits with."""
    try:
        main(words)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


if __name__ == "__main__":
    folder, *commands = sys.argv[1:]
    codes = [exit_code(command.split()) for command in commands]
    Path(folder, f"codes-{os.environ['RANK']}.json").write_text(json.dumps(codes))
