"""The effect of a changed setting on a finished run and on an interrupted training.

Each field states it in its type, such as `epochs: Warn[float]`; else its section does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel

Change = Literal["retrain", "warn", "rerun", "nothing"]
"""`nothing`: no result changes, so no stage runs again. Otherwise the stages that read the setting,
and those after them, run again; and an interrupted training cannot be resumed (`retrain`), resumes
with a warning (`warn`), or resumes as the same training up to rounding (`rerun`)."""

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Means:
    """The effect of a change of the annotated setting."""

    change: Change


Retrain = Annotated[Value, Means("retrain")]
Warn = Annotated[Value, Means("warn")]
Rerun = Annotated[Value, Means("rerun")]
Nothing = Annotated[Value, Means("nothing")]


def setting_changes(section: type[BaseModel], prefix: str = "") -> dict[str, Change]:
    """Return the effect of a change of each setting, by dotted key such as `train.epochs`."""
    changes: dict[str, Change] = {}
    for name, field in section.model_fields.items():
        key, kind = f"{prefix}{name}", field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            changes |= setting_changes(kind, f"{key}.")
            continue
        own = (note.change for note in field.metadata if isinstance(note, Means))
        changes[key] = next(own, getattr(section, "change", "rerun"))
    return changes
