"""Refusal of launcher settings that captioners do not support: a model split among processes.

FSDP, DeepSpeed, Megatron-LM and tensor parallelism need every weight to be used through the
model's `forward`, but captioners call the model's parts. `accelerate launch` requests them by
environment variables.
"""

from __future__ import annotations

import os
from typing import Any

from accelerate.utils import DistributedType

from captune.errors import RecipeError

_VARIABLES = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism config",
}
_TYPES = {
    DistributedType.FSDP: "FSDP",
    DistributedType.DEEPSPEED: "DeepSpeed",
    DistributedType.MEGATRON_LM: "Megatron-LM",
    DistributedType.XLA: "torch_xla",
}


def refuse_split_model() -> None:
    """Stop before any work if the launcher requests a split model.

    Raises:
        RecipeError: Names what is requested, and how to launch instead.
    """
    for variable, name in _VARIABLES.items():
        if os.environ.get(variable, "").lower() in ("1", "true", "yes", "y", "on", "t"):
            raise _refusal(name, where=f"{variable}={os.environ[variable]} (the launcher's config)")


def refuse_distributed_type(kind: Any) -> None:
    """Stop if accelerate has set up processes that captioners cannot train in.

    Raises:
        RecipeError: Names what is set up, and how to launch instead.
    """
    if kind in _TYPES:
        raise _refusal(_TYPES[kind], where="the launcher's config")


def refuse_split_arguments(args: Any) -> None:
    """Stop if `TrainingArguments` request a split model.

    Raises:
        RecipeError: Names the argument, and how to launch instead.
    """
    names = {"fsdp": "FSDP", "fsdp_plugin_args": "FSDP", "deepspeed": "DeepSpeed"}
    for name, kind in {**names, "parallelism_config": "a parallelism config"}.items():
        if getattr(args, name, None):
            raise _refusal(kind, where=f"args.{name}")


def _refusal(name: str, *, where: str) -> RecipeError:
    return RecipeError(
        f"{name} splits a model among processes, which captioners do not support",
        where=where,
        fix="launch without it: torchrun --nproc-per-node N, or accelerate launch --multi_gpu,"
        " starts processes that each hold the whole model",
    )
