"""Freezing by names that people use: vision, text, embeddings, cross_attention, vision.first-3."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn

from captune.errors import ModelError


@dataclass(frozen=True, slots=True)
class Parts:
    """The modules of a captioner by the names that recipes use.

    Attributes:
        named: Part name -> its modules; a family without cross-attention has no such key.
        vision_layers: What each vision stage owns, in stage order (embeddings first).
        text_layers: The text layers in order.
        vision_prefixes: Prefixes of the pretrained vision encoder's parameter names.
    """

    named: Mapping[str, Sequence[nn.Module]]
    vision_layers: Sequence[Sequence[nn.Module]]
    text_layers: Sequence[nn.Module]
    vision_prefixes: tuple[str, ...] = field(default=())


_FIRST_K = re.compile(r"(vision|text)\.first-(\d+)")


def freeze_parts(parts: Parts, names: Sequence[str], *, family: str) -> int:
    """Stops the gradients of the named parts and returns how many first vision stages are frozen.

    `vision.first-K` freezes the embeddings (or stem) and the first K layers behind them.

    Raises:
        ModelError: A name that the family does not have, or more layers than there are.
    """
    frozen_stages = 0
    for name in names:
        match = _FIRST_K.fullmatch(name)
        if match is None:
            _freeze_modules(_named_modules(parts, name, family=family))
            if name == "vision":
                frozen_stages = len(parts.vision_layers)
        elif match[1] == "vision":
            depth = _checked_depth(name, int(match[2]) + 1, len(parts.vision_layers), offset=1)
            _freeze_modules([m for stage in parts.vision_layers[:depth] for m in stage])
            frozen_stages = max(frozen_stages, depth)
        else:
            depth = _checked_depth(name, int(match[2]), len(parts.text_layers), offset=0)
            _freeze_modules(parts.text_layers[:depth])
    return frozen_stages


def _named_modules(parts: Parts, name: str, *, family: str) -> Sequence[nn.Module]:
    if name not in parts.named:
        allowed = [*parts.named, "vision.first-K", "text.first-K"]
        raise ModelError(
            f"the family {family} has no part {name!r} to freeze",
            where="model.freeze",
            fix=f"use one of: {', '.join(allowed)}",
        )
    return parts.named[name]


def _checked_depth(name: str, depth: int, available: int, *, offset: int) -> int:
    if depth > available:
        raise ModelError(
            f"{name} asks for more layers than the {available - offset} that can be told apart",
            where="model.freeze",
            fix=f"use a K up to {available - offset}, or freeze the whole part",
        )
    return depth


def _freeze_modules(modules: Sequence[nn.Module]) -> None:
    for module in modules:
        module.requires_grad_(False)
