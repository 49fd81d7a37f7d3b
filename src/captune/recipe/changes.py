"""What a change of a setting means for a finished run, and for an interrupted training.

Each setting says it at its field: `epochs: Warn[float]`; where a field does not, its section does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel

Change = Literal["retrain", "warn", "rerun", "nothing"]
"""`nothing`: no result changes, so no stage runs again. Otherwise the stages that read the setting,
and those behind them, run again; and an interrupted training cannot be resumed (`retrain`), is
resumed with a warning (`warn`), or is resumed as the same training up to rounding (`rerun`)."""

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Means:
    """What a change of the annotated setting means."""

    change: Change


Retrain = Annotated[Value, Means("retrain")]
Warn = Annotated[Value, Means("warn")]
Rerun = Annotated[Value, Means("rerun")]
Nothing = Annotated[Value, Means("nothing")]


def setting_changes(section: type[BaseModel], prefix: str = "") -> dict[str, Change]:
    """Return what a change of each setting means, by dotted key such as `train.epochs`."""
    changes: dict[str, Change] = {}
    for name, field in section.model_fields.items():
        key, kind = f"{prefix}{name}", field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            changes |= setting_changes(kind, f"{key}.")
            continue
        own = (note.change for note in field.metadata if isinstance(note, Means))
        changes[key] = next(own, getattr(section, "change", "rerun"))
    return changes
