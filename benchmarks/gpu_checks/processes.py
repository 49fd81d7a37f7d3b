"""Train in a process group of one process: NCCL on CUDA, gloo on CPUs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from gpu_checks.setting import Line, Setting, make_recipe, verdict

SCRIPT = """
import sys
import torch
import torch.distributed as dist
from gpu_checks.training import new_captioner, train_on
from captune.recipe import Recipe
from pathlib import Path

recipe = Recipe.model_validate_json(sys.argv[1])
if recipe.train.device == "cuda":
    torch.cuda.set_device(0)
dist.init_process_group({"cuda": "nccl", "xpu": "xccl"}.get(recipe.train.device, "gloo"))
train_on(new_captioner(recipe, 24), recipe, Path(sys.argv[2]))
value = torch.ones(3, device=recipe.train.device)
dist.all_reduce(value)
assert value.tolist() == [1.0, 1.0, 1.0]
print(dist.get_backend(), "trains and sums")
dist.destroy_process_group()
"""


def check_processes(setting: Setting) -> Iterator[Line]:
    # The device's kind without a number: the launcher gives each process its own device.
    recipe = make_recipe(setting, device=setting.device.type)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, recipe.model_dump_json(), str(setting.folder / "run")],
        env={
            **os.environ,
            **{"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"},
            **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path]),
        },
        capture_output=True,
        text=True,
        timeout=140,
        check=False,
    )
    last = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines() or [""]
    yield Line("processes.one", verdict(done.returncode == 0), last[-1][:200])
