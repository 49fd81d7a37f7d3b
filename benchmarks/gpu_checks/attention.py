"""Fused attention is used by every layer that has it, fresh and reloaded, and by which kernel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from captune.models import Captioner, load_captioner
from gpu_checks.setting import Line, Setting, make_batch, make_captioner, verdict

KERNEL = "aten::_scaled_dot_product_"


def check_attention(setting: Setting) -> Iterator[Line]:
    for size in setting.sizes:
        if not size.endswith("-tiny") or size.startswith(("blip", "git")):
            continue
        folder = setting.folder / size
        fresh = make_captioner(size)
        fresh.save(folder)
        for state, captioner in (("fresh", fresh), ("reloaded", load_captioner(folder))):
            yield check_one(setting, captioner, name=f"attention.{size}.{state}")
    yield check_load(setting)


def check_one(setting: Setting, captioner: Captioner, *, name: str) -> Line:
    captioner.move_to(setting.device)
    if setting.device.type == "cpu":
        # As on an accelerator: on a CPU eager attention is the faster one.
        captioner.choose_attention(torch.device("cuda"))
    captioner.eval_mode()
    batch = make_batch(captioner, 2).to(setting.device)
    with (
        setting.at(setting.fast_precision).autocast(),
        counting_calls() as calls,
        Kernels() as used,
    ):
        captioner.loss(batch)
    expected, fused = count_attentions(captioner), sum(used.counts.values())
    shown = ", ".join(f"{kernel} {count}" for kernel, count in sorted(used.counts.items()))
    if len(calls) > fused:
        shown += f" unfused {len(calls) - fused}"
    # CUDA has a fused kernel for every shape of these models.
    passed = len(calls) == expected and (setting.device.type != "cuda" or fused == expected)
    return Line(name, verdict(passed), f"{len(calls)} of {expected}: {shown}")


class Kernels(TorchDispatchMode):
    """Counts the fused kernels that run inside of it."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation."""
        name = func._schema.name
        if name.startswith(KERNEL):
            self.counts[name.removeprefix(KERNEL)] += 1
        return func(*args, **(kwargs or {}))


@contextmanager
def counting_calls() -> Iterator[list[None]]:
    """Grows with each call of torch's attention, whatever computes it."""
    calls: list[None] = []
    attend = functional.scaled_dot_product_attention

    def counted(*tensors: Any, **settings: Any) -> torch.Tensor:
        calls.append(None)
        return attend(*tensors, **settings)

    functional.scaled_dot_product_attention = counted
    try:
        yield calls
    finally:
        functional.scaled_dot_product_attention = attend


def count_attentions(captioner: Captioner) -> int:
    """One per layer of the encoder, two per layer of the decoder."""
    encoder, decoder = captioner.model.config.encoder, captioner.model.config.decoder
    vision = 0
    if hasattr(encoder, "depths"):
        vision = sum(encoder.depths)
    elif hasattr(encoder, "num_attention_heads"):
        vision = encoder.num_hidden_layers
    return int(vision + 2 * decoder.num_hidden_layers)


def check_load(setting: Setting) -> Line:
    """`captune.load` chooses what training chooses."""
    import captune

    folder = Path(setting.folder, "loaded")
    make_captioner("vit-gpt2-tiny").save(folder)
    loaded = captune.load(folder, device=str(setting.device))
    kinds = {
        layer.config._attn_implementation
        for layer in loaded.captioner.model.modules()
        if type(layer).__name__ == "ViTAttention"
    }
    wanted = {"eager" if setting.device.type == "cpu" else "sdpa"}
    return Line("attention.load", verdict(kinds == wanted), f"captune.load uses {sorted(kinds)}")
