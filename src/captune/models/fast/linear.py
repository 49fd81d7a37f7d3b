"""Linear layers and norms of a transformers model in the precision of inference."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

Function = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True)
class TextDtypes:
    """The precisions of a text side.

    Attributes:
        tokens: Precision of the weights applied to tokens; float16 on a CPU: float16 weights that
            multiply float32.
        image: Precision of the image's keys and values, and of the products that compute them.
    """

    tokens: torch.dtype
    image: torch.dtype


class UnknownModuleError(Exception):
    """A module that this package does not know; transformers' own layers are used instead."""


# By transformers' activation class: name and variant of the activation that oneDNN fuses with a
# product.
_FUSED = {
    "GELUActivation": ("gelu", "none"),
    "NewGELUActivation": ("gelu", "tanh"),
    "GELUTanh": ("gelu", "tanh"),
    "PytorchGELUTanh": ("gelu", "tanh"),
    "ReLU": ("relu", ""),
}


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear layer, with an activation after it if there is one.

    Attributes:
        weight: (out, in); empty if `packed` or `half` replaces it.
        bias: (out,), if any.
        activation: Applied to the result; `None`: none.
        packed: The weight in oneDNN's layout, on CPUs in bf16.
        fused: Name and variant of the activation that is computed inside the packed product.
        half: Weight and bias in FBGEMM's layout on CPUs: float16 that multiplies float32.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None
    activation: Function | None = None
    packed: torch.Tensor | None = None
    fused: tuple[str, str] = ("none", "")
    half: Any = None

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return (..., out) for inputs (..., in), in the precision of the product."""
        if self.half is not None:
            result = torch.ops.quantized.linear_dynamic_fp16(inputs.float(), self.half)
            return result if self.activation is None else self.activation(result)
        inputs = inputs.to(self.weight.dtype)
        if self.packed is None:
            result = functional.linear(inputs, self.weight, self.bias)
            return result if self.activation is None else self.activation(result)
        name, variant = self.fused
        result = torch.ops.mkldnn._linear_pointwise(
            inputs, self.packed, self.bias, name, [], variant
        )
        is_done = self.activation is None or name != "none"
        return result if is_done or self.activation is None else self.activation(result)


@dataclass(frozen=True, slots=True)
class Projections:
    """Linear layers with the same input, computed as one product if they are fused.

    Attributes:
        layers: One fused layer, or one layer per output.
        count: Number of outputs.
    """

    layers: tuple[Linear, ...]
    count: int

    def __call__(self, inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the `count` outputs, each (..., out); views of one tensor if they are fused."""
        if len(self.layers) == 1:
            return self.layers[0](inputs).chunk(self.count, dim=-1)
        return tuple(layer(inputs) for layer in self.layers)


@dataclass(frozen=True, slots=True)
class Norm:
    """A layer norm, computed in float32 or wider."""

    weight: torch.Tensor
    bias: torch.Tensor
    eps: float

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the normalised inputs (..., D), in their dtype."""
        return functional.layer_norm(
            inputs, self.weight.shape, self.weight, self.bias, eps=self.eps
        )


def linear(module: Any, dtype: torch.dtype, *, activation: Any = None) -> Linear:
    """Return the inference form of an `nn.Linear` or GPT-2's `Conv1D`; views if `dtype` is its own.

    Raises:
        UnknownModuleError: It is of another class, for example quantised or adapted.
    """
    weight, bias = _weights(module)
    return _make(weight, bias, dtype, activation=activation)


def projections(
    modules: Sequence[Any], dtype: torch.dtype, *, query_scale: float = 1.0
) -> Projections:
    """Return layers with the same input, fused to one if their weights are converted anyway.

    Args:
        modules: Linear layers, one per output.
        dtype: Precision of the products.
        query_scale: Factor of the first layer's output; applied only if weights are converted.

    Raises:
        UnknownModuleError: A layer is of an unknown class.
    """
    pairs = [_weights(module) for module in modules]
    if pairs[0][0].dtype == dtype:
        return Projections(tuple(_make(w, b, dtype) for w, b in pairs), len(pairs))
    weight, bias = joined_weights(modules, first_scale=query_scale)
    return Projections((_make(weight, bias, dtype),), len(pairs))


def joined_weights(
    modules: Sequence[Any], *, first_scale: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the concatenated weights (out, in) and biases of layers with the same input.

    Args:
        modules: The layers.
        first_scale: Factor of the first layer's output.

    Raises:
        UnknownModuleError: A layer is of an unknown class.
    """
    pairs = [_weights(module) for module in modules]
    weight = torch.cat([w * (1.0 if n else first_scale) for n, (w, _) in enumerate(pairs)])
    if all(b is None for _, b in pairs):
        return weight, None
    filled = [w.new_zeros(len(w)) if b is None else b for w, b in pairs]
    return weight, torch.cat([b * (1.0 if n else first_scale) for n, b in enumerate(filled)])


def norm(module: Any) -> Norm:
    """Return the inference form of an `nn.LayerNorm`, with weights in float32 or wider.

    Raises:
        UnknownModuleError: It is of another class, or has no weights.
    """
    if type(module) is not nn.LayerNorm or module.weight is None or module.bias is None:
        raise UnknownModuleError(type(module).__name__)
    wide = torch.promote_types(module.weight.dtype, torch.float32)
    weight, bias = module.weight.detach().to(wide), module.bias.detach().to(wide)
    return Norm(weight, bias, module.eps)


def _weights(module: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
    if type(module) is nn.Linear:
        bias = module.bias
        return module.weight.detach(), None if bias is None else bias.detach()
    if type(module) is Conv1D:
        return module.weight.detach().t(), module.bias.detach()
    raise UnknownModuleError(type(module).__name__)


def _make(
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    dtype: torch.dtype,
    *,
    activation: Any = None,
) -> Linear:
    if is_half_of_weights(weight.device, dtype):
        half = _pack_half(weight, bias)
        if half is not None:
            return Linear(weight.new_empty(0), bias, activation, half=half)
        dtype = weight.dtype
    weight = weight.to(dtype)
    bias = None if bias is None else bias.to(dtype)
    packed = _pack(weight)
    if packed is None:
        return Linear(weight, bias, activation)
    fused = _FUSED.get(type(activation).__name__, ("none", ""))
    # The plain weight would double the memory.
    return Linear(weight.new_empty(0), bias, activation, packed, fused)


def is_half_of_weights(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether a precision means float16 weights that multiply float32.

    CPUs have no fast products of two float16 numbers. A step of few rows spends its time on reading
    weights, and float16 halves that; it keeps three more bits than bf16.
    """
    return device.type == "cpu" and dtype == torch.float16


_HALF_RANGE = (2.0**-12, 65504.0)
"""Range of a weight matrix's largest magnitude within which float16 stores all bits of almost all
its elements."""


def _pack_half(weight: torch.Tensor, bias: torch.Tensor | None) -> Any:
    """Return the weight in float16 in FBGEMM's layout, or `None` where that is not possible.

    The operators are older than torch.compile, but may be removed one day together with deprecated
    ones around them; without them, the weight keeps its own precision.
    """
    lowest, highest = _HALF_RANGE
    if not lowest <= float(weight.abs().amax()) <= highest:
        return None
    with contextlib.suppress(AttributeError, NotImplementedError, RuntimeError):
        wide = None if bias is None else bias.float()
        half = torch.ops.quantized.linear_prepack_fp16(weight.float().contiguous(), wide)
        torch.ops.quantized.linear_dynamic_fp16(torch.zeros(1, weight.shape[1]), half)
        return half
    return None


def _pack(weight: torch.Tensor) -> torch.Tensor | None:
    """Return the weight in oneDNN's own layout, or `None` where that does not help or exist.

    oneDNN reorders plain weights for every product: with 16 rows, a product of 768 x 3072 takes
    1.0 ms, and 0.6 ms with packed weights (docs/log.md). The two operators are those that
    torch.compile generates; they are private, so a torch without them computes plain products.
    """
    if weight.device.type != "cpu" or weight.dtype != torch.bfloat16:
        return None
    with contextlib.suppress(AttributeError, NotImplementedError, RuntimeError):
        if torch.ops.mkldnn._is_mkldnn_bf16_supported():
            packed: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(
                weight.contiguous(), _ROWS
            )
            _try_packed(packed, weight)
            return packed
    return None


_ROWS = 64
"""Number of rows for which oneDNN chooses the layout; other numbers work too."""


def _try_packed(packed: torch.Tensor, weight: torch.Tensor) -> None:
    torch.ops.mkldnn._linear_pointwise(
        weight.new_zeros(1, weight.shape[1]), packed, None, "none", [], ""
    )
