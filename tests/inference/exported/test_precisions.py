"""`auto` uses the fastest precisions that the export's own check found exact enough."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from captune.errors import RecipeError
from captune.inference.exported.folder import ExportedModel
from captune.inference.exported.image_levels import ImageRecipe
from captune.inference.exported.precisions import (
    BF16,
    BF16_VISION,
    FP32,
    SidePrecisions,
    choose_precisions,
    runtime_computes_bf16,
)

needs_bf16 = pytest.mark.skipif(not runtime_computes_bf16(), reason="no bf16 instructions")


def exported(
    equal: float | None, both: float | None, vision: float | None, *, stays: bool, to: str
) -> ExportedModel:
    levels = np.zeros((3, 256), dtype=np.float32)
    return ExportedModel(
        folder=Path("export"),
        format=to,  # type: ignore[arg-type]
        prefix_ids=(),
        eos_token_id=1,
        max_positions=20,
        suppressed_ids=(),
        decoding={},
        width=8,
        image=ImageRecipe((8, 8), None, 2, None, levels),
        cleans_up=False,
        equal_share=equal,
        exact_in_bf16=both,
        exact_with_bf16_vision=vision,
        keeps_captions_in_bf16_vision=stays,
    )


@needs_bf16
@pytest.mark.parametrize(
    ("equal", "both", "vision", "stays", "expected"),
    [
        (1.0, 0.98, 0.99, True, BF16),
        (1.0, 0.97, 0.98, True, BF16_VISION),
        (1.0, 0.97, 0.97, True, FP32),
        # Nothing was measured on photographs: the kind of model decides.
        (None, None, None, True, BF16_VISION),
        (None, None, None, False, FP32),
        # In 8 bits four of five captions are equal, whatever the precision of the rest.
        (0.8, 0.79, 0.79, True, BF16),
        (0.8, 0.77, 0.79, True, BF16_VISION),
    ],
)
def test_auto_uses_bf16_if_captions_stay_the_same(
    equal: float | None,
    both: float | None,
    vision: float | None,
    stays: bool,
    expected: SidePrecisions,
) -> None:
    model = exported(equal, both, vision, stays=stays, to="openvino")
    assert choose_precisions("auto", model) == expected


def test_onnx_computes_in_float32_only() -> None:
    model = exported(1.0, 1.0, 1.0, stays=True, to="onnx")
    assert choose_precisions("auto", model) == FP32
    with pytest.raises(RecipeError, match="precision bf16 is not supported"):
        choose_precisions("bf16", model)


def test_two_precisions_are_both_named() -> None:
    assert BF16_VISION.describe() == "bf16 vision, fp32 text"
    assert BF16.describe() == "bf16"
