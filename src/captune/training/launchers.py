"""Refusal of launches that cannot train one model: a split model, or processes that do not match.

FSDP, DeepSpeed, Megatron-LM and tensor parallelism need every weight to be used through the
model's `forward`, but captioners call the model's parts. `accelerate launch` requests them by
environment variables. Processes that each choose `auto` on machines of their own may choose
differently; with loss scaling in only some of them, gradients would be wrong without any error.
"""

from __future__ import annotations

import os
import socket
from collections import Counter
from typing import Any

from accelerate.utils import DistributedType

from captune.errors import RecipeError
from captune.hardware import Hardware
from captune.storage import read_flag
from captune.suggest import format_count
from captune.training.team import Team

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
        if read_flag(variable):
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


def refuse_unlike_processes(team: Team, hardware: Hardware) -> None:
    """Stop if the processes have chosen other kinds of devices or other precisions.

    All processes must call this.

    Raises:
        RecipeError: In the first process; names the processes that differ.
        ProcessError: In the others.
    """
    crew = team.gather((hardware.device.type, hardware.precision))
    if team.leads:
        kinds, precisions = [kind for kind, _ in crew], [precision for _, precision in crew]
        _refuse_different(kinds, key="train.device", how="on different kinds of devices")
        _refuse_different(precisions, key="train.precision", how="in different precisions")
    # Otherwise the others would wait for the first one in a collective.
    team.wait_for_all()


def refuse_shared_devices(team: Team, hardware: Hardware) -> None:
    """Stop if two processes would train on the same GPU.

    All processes must call this, after each has been assigned its device.

    Raises:
        RecipeError: In the first process; names the machine.
        ProcessError: In the others.
    """
    chips = team.gather((socket.gethostname(), hardware.identify()))
    if team.leads:
        for (host, chip), count in Counter(chips).items():
            if chip and count > 1:
                own = len({other for name, other in chips if name == host})
                raise RecipeError(
                    f"{count} processes on {host} would share one device",
                    where="train.device",
                    fix=f"start {format_count(own, 'process', plural='processes')} there"
                    f" (--nproc-per-node {own}), or make more devices visible",
                )
    team.wait_for_all()


def _refuse_different(values: list[str], *, key: str, how: str) -> None:
    if len(set(values)) == 1:
        return
    ranks = {value: [str(n) for n, own in enumerate(values) if own == value] for value in values}
    listed = ", ".join(f"{value} (rank {', '.join(own)})" for value, own in ranks.items())
    allowed = {
        "train.device": "cpu; or start processes only on machines with the same kind of device",
        "train.precision": "fp32, or to another one that all their devices support",
    }
    raise RecipeError(
        f"the processes would train {how}: {listed}",
        where=key,
        fix=f"set {key} to {allowed[key]}",
    )


def _refusal(name: str, *, where: str) -> RecipeError:
    return RecipeError(
        f"{name} splits a model among processes, which captioners do not support",
        where=where,
        fix="launch without it: torchrun --nproc-per-node N, or accelerate launch --multi_gpu,"
        " starts processes that each hold the whole model",
    )
