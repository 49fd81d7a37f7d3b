"""Types of recipe values with their bounds, described in words where a pattern is unclear.

The bounds are those of the libraries, or of what a machine can hold, so that a value that passes
does not fail late.
"""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from captune.recipe.changes import Change
from captune.storage import portable_name

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveInt = Annotated[int, Field(ge=1, le=1_000_000_000)]
NonNegativeInt = Annotated[int, Field(ge=0, le=1_000_000_000)]
Layers = Annotated[int, Field(ge=1, le=256)]
BatchSize = Annotated[int, Field(ge=1, le=65_536)]
PositiveFloat = Annotated[float, Field(gt=0.0, le=1e6)]
NonNegativeFloat = Annotated[float, Field(ge=0.0, le=1e6)]
BelowOne = Annotated[float, Field(ge=0.0, lt=1.0)]
# NumPy accepts 32 bits, and each process adds its rank.
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]


def _as_texts(value: object) -> object:
    """Return a tuple of texts: one value becomes a tuple of one, numbers stay as written."""
    values = value if isinstance(value, list | tuple) else (value,)
    return tuple(
        str(item).lower() if isinstance(item, bool | int | float) else item for item in values
    )


_TEXTS_SCHEMA = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
# Texts, so that the id 07010 keeps its zero; one value needs no list.
ColumnValues = Annotated[
    tuple[str, ...],
    Field(min_length=1),
    BeforeValidator(_as_texts),
    WithJsonSchema(_TEXTS_SCHEMA),
]


_RUN_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*$")


def _refuse_reserved(name: str) -> str:
    # On every system: a recipe is shared, and its run's folder must be possible on Windows too.
    if not name:
        raise ValueError(
            "a run needs a name, which its folder gets; remove the key for the default"
        )
    # Names that do not match the pattern are refused elsewhere.
    if _RUN_NAME.match(name) and portable_name(name) != name:
        raise ValueError(
            f"Windows allows no folder named {name!r}; choose another name, such as"
            f" run-{name.rstrip('.')}"
        )
    return name


RunName = Annotated[
    str,
    AfterValidator(_refuse_reserved),
    Field(
        max_length=100,
        pattern=_RUN_NAME.pattern,
        json_schema_extra={
            "words": "a name of up to 100 letters, digits, '.', '_' and '-' that starts with a"
            " letter or digit"
        },
    ),
]
HubName = Annotated[
    str,
    Field(
        max_length=200,
        pattern=r"^([\w.-]+/)?[\w.-]+$",
        json_schema_extra={"words": "a hub repository: OWNER/NAME, or NAME of your own"},
    ),
]
LicenseName = Annotated[
    str,
    Field(
        max_length=100,
        pattern=r"^[a-z0-9][a-z0-9.+-]*$",
        json_schema_extra={"words": "a licence as the hub names it, such as apache-2.0 or mit"},
    ),
]
LanguageCode = Annotated[
    str,
    Field(
        max_length=20,
        pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$",
        json_schema_extra={"words": "a language code, such as en or zh"},
    ),
]
View = Literal["original", "flip", "crop", "flip_crop"]


class Section(BaseModel):
    """A frozen group of settings that rejects unknown keys.

    Attributes:
        change: The effect of a change of its settings, unless a field states its own.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )
    change: ClassVar[Change] = "rerun"


class RetrainSection(Section):
    """Settings of the model; a change always requires a new training."""

    change: ClassVar[Change] = "retrain"


class SplitFractions(Section):
    """Shares of the images (or groups) that go to each split when the data set gives none."""

    train: Fraction = Field(0.8, description="Share used for training, 0..1.")
    val: Fraction = Field(0.1, description="Share used to pick the checkpoint, 0..1.")
    test: Fraction = Field(0.1, description="Share used for scoring, 0..1.")

    @model_validator(mode="after")
    def _sum_to_one(self) -> Self:
        if abs(self.train + self.val + self.test - 1.0) > 1e-6:
            total = self.train + self.val + self.test
            raise ValueError(f"train + val + test must be 1, not {total:g}")
        return self
