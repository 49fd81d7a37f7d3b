"""Counted operations of a model: what a pass must compute, and what a step must read.

Operations are counted where they run, by torch's counter, so no formula of a family can be wrong.
For one image and one new token every weight and every key takes part in one multiplication and
one addition: half of the operations is the number of values that a decoding step has to read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from captune.benchmark.machine_limit import Work
from captune.models import Captioner, additive_mask
from captune.records import CaptionBatch, VisionInputs

_ADAMW_BYTES = 28
"""Per trained float32 weight: it, its gradient and two moments are read, all but one written."""

_ATTENTION = ("bmm", "baddbmm", "attention")
"""Operations over keys and values; all other products are over weights."""


@dataclass(frozen=True, slots=True)
class CaptionWork:
    """The operations of captioning one image with one beam.

    Attributes:
        encode: Operations from pixels to the image's keys and values, and of the prompt.
        step_weights: Values of weights that a step reads, once per batch.
        step_keys: Keys and values that a step reads per image.
    """

    encode: float
    step_weights: float
    step_keys: float

    def phases(
        self, *, batch_size: int, beams: int, tokens: int, bytes_per_value: int
    ) -> tuple[Work, Work]:
        """Return the work per image of encoding and of all steps.

        Args:
            batch_size: Images whose steps share one reading of the weights.
            beams: Captions in progress per image; all of them share its keys.
            tokens: Steps; the first token comes with the prompt.
            bytes_per_value: Of weights and keys.
        """
        values = self.step_weights + self.step_keys
        read = self.step_weights / batch_size + self.step_keys
        step = Work(2.0 * values * beams, read * bytes_per_value)
        return Work(self.encode), step.times(max(0, tokens - 1))


def count_operations(work: Callable[[], object]) -> tuple[float, float]:
    """Run some work; return its operations over weights and those over keys and values."""
    counter = FlopCounterMode(display=False, custom_mapping=_cpu_formulas())
    with counter:
        work()
    weights = keys = 0.0
    for operation, count in counter.get_flop_counts()["Global"].items():
        if any(name in str(operation) for name in _ATTENTION):
            keys += count
        else:
            weights += count
    return weights, keys


def count_training(run_pass: Callable[[CaptionBatch], None], batch: CaptionBatch) -> float:
    """Return the operations per image of a forward and backward pass over a batch."""
    return sum(count_operations(lambda: run_pass(batch))) / len(batch.image_ids)


def count_update(trained_parameters: int) -> Work:
    """Return the work of one AdamW update."""
    return Work(0.0, float(_ADAMW_BYTES * trained_parameters))


@torch.inference_mode()
def count_captioning(captioner: Captioner, inputs: VisionInputs | torch.Tensor) -> CaptionWork:
    """Count the operations of captioning one image.

    Args:
        captioner: In eval mode.
        inputs: Of one image, on its device.
    """
    states = captioner.encode(inputs)
    context = captioner.start_decoding(states)
    prompt = captioner.prefix_ids()
    encode = sum(count_operations(lambda: captioner.encode(inputs)))
    first = sum(count_operations(lambda: _append(captioner, context, tokens=prompt, start=0)))
    weights, keys = count_operations(
        lambda: _append(captioner, context, tokens=prompt[-1:], start=len(prompt))
    )
    return CaptionWork(encode + first, weights / 2, keys / 2)


def _append(captioner: Captioner, context: Any, *, tokens: tuple[int, ...], start: int) -> None:
    length, device = len(tokens), captioner.device
    visible = torch.ones((length, start + length), dtype=torch.bool, device=device).tril(start)
    hidden = captioner.hidden_states(
        context,
        torch.tensor([tokens], device=device),
        position_ids=torch.arange(start, start + length, device=device)[None],
        attention_mask=additive_mask(visible[None], captioner.mask_dtype)[:, None],
    )
    captioner.lm_head(hidden[:, -1])


def _cpu_formulas() -> dict[Any, Any]:
    """Return formulas of attention on CPUs; torch has those of accelerators only."""
    aten = torch.ops.aten
    return {
        aten._scaled_dot_product_flash_attention_for_cpu: _count_attention,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: _count_attention_backward,
    }


def _count_attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """Count both products of attention, from shapes."""
    batch, heads, length, width = query
    return int(2 * batch * heads * length * key[-2] * (width + value[-1]))


def _count_attention_backward(*shapes: Any, **_: Any) -> int:
    """Count the five products of the backward pass, one of them repeated from the forward pass."""
    query, key, value = shapes[1:4]
    return _count_attention(query, key, value) * 5 // 2
