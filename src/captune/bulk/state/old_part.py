"""The `.part` files of captune 0.1: resumed if model and decoding are the same, else refused."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captune.bulk.state.maker import Maker, differences
from captune.errors import OutputError
from captune.inference import to_prediction
from captune.records import Prediction
from captune.storage import STATE_FOLDER


@dataclass(frozen=True, slots=True)
class OldPart:
    """What an earlier captune left unfinished.

    Attributes:
        path: The file that holds it.
        predictions: The captions in it.
    """

    path: Path
    predictions: list[Prediction]


def take_old_part(out: Path, *, now: Maker, force: bool) -> OldPart | None:
    """Return the unfinished captions of captune 0.1 for a file, moved out of the way.

    Args:
        out: The finished file.
        now: Model, decoding and wording.
        force: Delete them instead.

    Raises:
        OutputError: Another model or decoding made them, or a run with `--force`.
    """
    part = out.with_name(f"{out.name}.part")
    moved = out.parent / STATE_FOLDER / f"{out.name}.part-0.1"
    place = moved if moved.exists() else part
    header, predictions = _read(place)
    if header is None:
        return None
    if force:
        place.unlink()
        return None
    others = differences(header["made_by"], now)
    if others or header.get("force"):
        cause = f"another model or decoding ({', '.join(others)})" if others else "--force"
        raise OutputError(
            f"{place} was started with {cause}",
            fix="use the same settings to resume it, --force to start again, or another --out",
        )
    moved.parent.mkdir(parents=True, exist_ok=True)
    place.replace(moved)
    return OldPart(moved, predictions)


def _read(path: Path) -> tuple[dict[str, Any] | None, list[Prediction]]:
    """Return header and captions; `None`: the file is not from captune 0.1."""
    try:
        with path.open("rb") as file:
            if not file.read(16).startswith(b'{"made_by"'):
                return None, []
            file.seek(0)
            # What follows the last line feed was truncated by a kill.
            header, *rows = (json.loads(line) for line in file.read().split(b"\n")[:-1])
        if isinstance(header["made_by"], dict):
            return header, [to_prediction(row) for row in rows]
    except (
        *(OSError, ValueError, TypeError, LookupError),
        *(AttributeError, OverflowError, RecursionError),
    ):
        pass
    return None, []
