"""Check that every layer with fused attention uses it, fresh and reloaded; count its kernels."""

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
        if not size.endswith("-tiny"):
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
        # Choose as on an accelerator: on a CPU, eager attention is faster.
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
    """Counter of the fused kernels that run inside its block."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation, and count it if it is a fused kernel."""
        name = func._schema.name
        if name.startswith(KERNEL):
            self.counts[name.removeprefix(KERNEL)] += 1
        return func(*args, **(kwargs or {}))


@contextmanager
def counting_calls() -> Iterator[list[None]]:
    """Yield a list that grows with each call of torch's attention, whatever kernel computes it."""
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
    """Count attentions: one per layer of the encoder, two per layer of the decoder; GIT's one."""
    config = captioner.model.config
    if captioner.family in ("blip", "git"):
        per_layer = 2 if captioner.family == "blip" else 1
        text = config.get_text_config()
        return int(config.vision_config.num_hidden_layers + per_layer * text.num_hidden_layers)
    encoder, decoder = config.encoder, config.decoder
    vision = 0
    if hasattr(encoder, "depths"):
        vision = sum(encoder.depths)
    elif hasattr(encoder, "num_attention_heads"):
        vision = encoder.num_hidden_layers
    return int(vision + 2 * decoder.num_hidden_layers)


def check_load(setting: Setting) -> Line:
    """Check that `captune.load` chooses the attention that training chooses."""
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
