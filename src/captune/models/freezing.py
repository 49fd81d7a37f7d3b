"""Freezing by part names: vision, text, embeddings, cross_attention, vision.first-3, ..."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from captune.errors import ModelError
from captune.suggest import did_you_mean


@dataclass(frozen=True, slots=True)
class Parts:
    """The modules of a captioner by the names that recipes use.

    Attributes:
        named: Part name -> its modules; a family without cross-attention has no such key.
        vision_layers: What each vision stage owns, in stage order (embeddings first).
        text_layers: The text layers in order.
        vision_prefixes: Prefixes of the pretrained vision encoder's parameter names.
        unused: Parameters that no caption depends on, such as a classifier's pooler; always
            frozen, because one that never gets a gradient stops multi-process training.
    """

    named: Mapping[str, Sequence[nn.Module]]
    vision_layers: Sequence[Sequence[nn.Module]]
    text_layers: Sequence[nn.Module]
    vision_prefixes: tuple[str, ...] = field(default=())
    unused: Sequence[nn.Parameter] = field(default=())


@dataclass(frozen=True, slots=True)
class PartSize:
    """Parameters of one part of a model; the parts of a model do not overlap.

    Attributes:
        name: `vision`, `embeddings`, `cross_attention`, `text` (the rest of it), or `bridge`
            (between the two sides).
        total: Parameters; shared ones count once.
        trainable: Those that learn.
    """

    name: str
    total: int
    trainable: int


_FIRST_K = re.compile(r"(vision|text)\.first-(\d{1,9})")


def freeze_parts(model: nn.Module, parts: Parts, *, names: Sequence[str], family: str) -> int:
    """Freeze exactly the named parts; return how many of the first vision stages are frozen.

    `vision.first-K` freezes the embeddings (or stem) and the first K layers after them.

    Raises:
        ModelError: A name that the family does not have, or more layers than there are.
    """
    model.requires_grad_(True)
    for parameter in parts.unused:
        parameter.requires_grad_(False)
    frozen_stages = 0
    for name in names:
        match = _FIRST_K.fullmatch(name)
        if match is None:
            _freeze_modules(_named_modules(parts, name, family=family))
            if name == "vision":
                frozen_stages = len(parts.vision_layers)
        elif match[1] == "vision":
            depth = _vision_depth(name, int(match[2]), len(parts.vision_layers))
            _freeze_modules([m for stage in parts.vision_layers[:depth] for m in stage])
            frozen_stages = max(frozen_stages, depth)
        else:
            depth = _checked_depth(name, int(match[2]), len(parts.text_layers))
            _freeze_modules(parts.text_layers[:depth])
    return frozen_stages


def unread_bias(head: Any) -> list[nn.Parameter]:
    """Return the second bias of a BERT-like output head, which only a tied head reads."""
    predictions = getattr(head, "predictions", None)
    if predictions is None or predictions.bias is predictions.decoder.bias:
        return []
    return [predictions.bias]


def part_sizes(model: nn.Module, parts: Parts) -> tuple[PartSize, ...]:
    """Count the parameters of each part and those that learn; empty parts are skipped."""
    owners: dict[int, str] = {}
    for name in ("cross_attention", "embeddings", "vision", "text"):
        for module in parts.named.get(name, ()):
            for parameter in module.parameters():
                owners.setdefault(id(parameter), name)
    totals: dict[str, list[int]] = {name: [0, 0] for name in _PART_ORDER}
    for parameter in model.parameters():
        counts = totals[owners.get(id(parameter), "bridge")]
        counts[0] += parameter.numel()
        counts[1] += parameter.numel() * parameter.requires_grad
    return tuple(PartSize(name, *counts) for name, counts in totals.items() if counts[0])


def describe_sizes(sizes: Sequence[PartSize]) -> str:
    """Return one line for logs: parameters that learn, of all, by part."""
    total, trainable = sum(s.total for s in sizes), sum(s.trainable for s in sizes)
    by_part = ", ".join(f"{s.name} {s.trainable:,} of {s.total:,}" for s in sizes)
    return f"{trainable:,} of {total:,} parameters learn ({by_part})"


_PART_ORDER = ("vision", "bridge", "embeddings", "cross_attention", "text")


def _named_modules(parts: Parts, name: str, *, family: str) -> Sequence[nn.Module]:
    if name not in parts.named:
        allowed = [*parts.named, "vision.first-K", "text.first-K"]
        raise ModelError(
            f"the family {family} has no part {name!r} to freeze{did_you_mean(name, allowed)}",
            where="model.freeze",
            fix=f"use one of: {', '.join(allowed)}",
        )
    return parts.named[name]


def _vision_depth(name: str, layers: int, available: int) -> int:
    """Return the number of frozen stages: the stem and `layers` after it."""
    if available == 1:
        raise ModelError(
            f"{name}: the layers of this vision encoder cannot be frozen separately",
            where="model.freeze",
            fix="freeze the whole encoder (vision), or use a ViT, DeiT, MobileNetV2, ConvNeXt or"
            " ResNet encoder",
        )
    return 1 + _checked_depth(name, layers, available - 1)


def _checked_depth(name: str, layers: int, available: int) -> int:
    if layers > available:
        raise ModelError(
            f"{name} asks for more layers than the model has ({available})",
            where="model.freeze",
            fix=f"use a K up to {available}, or freeze the whole part",
        )
    return layers


def _freeze_modules(modules: Sequence[nn.Module]) -> None:
    for module in modules:
        module.requires_grad_(False)


def enter_train_mode(module: nn.Module) -> tuple[bool, bool]:
    """Set the mode of a module and its children; return whether it has weights and any learns.

    Each weight is checked once: this runs before every step and takes time in small models.
    """
    own = [p for p in module._parameters.values() if p is not None]
    inner = [enter_train_mode(child) for child in module._modules.values() if child is not None]
    has_weights = bool(own) or any(has for has, _ in inner)
    learns = any(p.requires_grad for p in own) or any(learning for _, learning in inner)
    if isinstance(module, nn.modules.batchnorm._BatchNorm) or (has_weights and not learns):
        module.eval()
    elif not module.training:
        module.training = True
    return has_weights, learns
