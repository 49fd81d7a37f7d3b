"""The command line as each of several processes runs it; leaves its exit codes in a file."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from captune.cli import main
from captune.pipeline.stages import scored


def exit_code(words: list[str]) -> int:
    """What the command line exits with."""
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
