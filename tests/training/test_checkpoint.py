"""What a checkpoint of the loop brings back beside the weights."""

from __future__ import annotations

from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer

from captune.models import build_captioner
from captune.recipe import ModelConfig
from captune.training.checkpoint import TrainState, load_checkpoint, save_checkpoint

CAPTIONS = ["a red circle", "a blue square on the left"]


def test_the_scale_of_fp16_losses_comes_back(tmp_path: Path) -> None:
    Accelerator(cpu=True)
    captioner = build_captioner(ModelConfig(size="vit-gpt2-tiny"), CAPTIONS)
    scalers = [torch.amp.GradScaler("cpu", init_scale=scale) for scale in (128.0, 65536.0)]
    written, read = (
        AcceleratedOptimizer(torch.optim.SGD(captioner.model.parameters()), scaler=scaler)
        for scaler in scalers
    )
    for scaler in scalers:  # a scaler that has scaled nothing has no state yet
        scaler.scale(torch.ones(1))
    save_checkpoint(
        tmp_path, TrainState(step=3), captioner=captioner, optimizer=written, average=None, keep=1
    )
    found = load_checkpoint(tmp_path, captioner=captioner, optimizer=read, average=None)
    assert found == TrainState(step=3)
    assert scalers[1].get_scale() == 128.0
