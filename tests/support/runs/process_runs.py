"""The command line, run by each of several processes; exit codes are written to a file."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from captune.cli import main
from captune.pipeline.stages import scored


def exit_code(words: list[str]) -> int:
    """Return the exit code of the command line."""
    try:
        main(words)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def count_captioned() -> list[int]:
    """Count the images that this process captions in each stage."""
    counts: list[int] = []
    real = scored.predict

    def predict(captioner: Any, records: Any, **settings: Any) -> Any:
        counts.append(len(records))
        return real(captioner, records, **settings)

    scored.predict = predict
    return counts


if __name__ == "__main__":
    folder, *commands = sys.argv[1:]
    counts = count_captioned()
    codes = [exit_code(command.split()) for command in commands]
    rank = os.environ["RANK"]
    Path(folder, f"codes-{rank}.json").write_text(json.dumps(codes))
    Path(folder, f"captioned-{rank}.json").write_text(json.dumps(counts))
