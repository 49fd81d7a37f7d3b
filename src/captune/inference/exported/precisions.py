"""The precision in which each side of an exported model is computed.

Rounding to bf16 changes few captions on the vision side and many on the text side: of 200
photographs of Flickr8k, 99.5 % keep BLIP's caption with only vision in bf16, and 89 to 93 % with
both sides. So the precision of each side is chosen separately, from the export's own measurements.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from captune.errors import RecipeError
from captune.software import import_openvino

if TYPE_CHECKING:
    from captune.inference.exported.folder import ExportedModel

RuntimePrecision = Literal["fp32", "bf16"]

EXACT_ENOUGH = 0.98
"""Share of captions that must equal those in fp32 before `auto` chooses another precision."""


@dataclass(frozen=True, slots=True)
class SidePrecisions:
    """The precisions of both sides.

    Attributes:
        vision: Precision from pixels to the image's keys.
        text: Precision of a text step; with bf16, keys and values are bfloat16 too.
    """

    vision: RuntimePrecision = "fp32"
    text: RuntimePrecision = "fp32"

    def describe(self) -> str:
        """Return both precisions in one phrase."""
        if self.vision == self.text:
            return self.vision
        return f"{self.vision} vision, {self.text} text"


FP32 = SidePrecisions()
BF16 = SidePrecisions("bf16", "bf16")
BF16_VISION = SidePrecisions("bf16", "fp32")


def choose_precisions(name: str, model: ExportedModel) -> SidePrecisions:
    """Return the precisions that `--precision` names for a model.

    Args:
        name: `fp32`; `bf16`: both sides; `auto`: the fastest that the export found exact enough.
        model: The exported model.

    Raises:
        RecipeError: The model's runtime does not support the precision.
    """
    is_onnx = model.format == "onnx"
    if name == "auto":
        return FP32 if is_onnx or not runtime_computes_bf16() else _fastest_exact(model)
    if name == "bf16" and not is_onnx:
        return BF16
    if name == "fp32":
        return FP32
    raise RecipeError(
        f"precision {name} is not supported by an exported model",
        where="precision",
        fix="use auto or fp32" if is_onnx else "use auto, fp32 or bf16",
    )


def _fastest_exact(model: ExportedModel) -> SidePrecisions:
    # With 8-bit weights, captions change anyway: the bar is relative to the graphs in float32.
    least = EXACT_ENOUGH if model.equal_share is None else EXACT_ENOUGH + model.equal_share - 1.0
    if model.exact_in_bf16 is not None and model.exact_in_bf16 >= least:
        return BF16
    if model.exact_with_bf16_vision is not None:
        return BF16_VISION if model.exact_with_bf16_vision >= least else FP32
    return BF16_VISION if model.keeps_captions_in_bf16_vision else FP32


def runtime_computes_bf16() -> bool:
    """Return whether OpenVINO's CPU has bf16 instructions; emulation would be slower."""
    capabilities: Any = import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "BF16" in capabilities
