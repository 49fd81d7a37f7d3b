"""Compare loss, gradients and captions on the device with those on the CPU in fp32."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from captune.hardware import Hardware, choose_hardware
from captune.inference import generate
from captune.models import Captioner
from captune.recipe import GenerateConfig
from captune.records import CaptionBatch
from gpu_checks.setting import (
    Line,
    Setting,
    exact_fp32,
    first_line,
    make_batch,
    make_captioner,
    verdict,
)

# Largest relative differences of the loss, and of the gradients as one vector.
LIMITS = {"fp32": (1e-4, 2e-3), "bf16": (1e-2, 0.05), "fp16": (2e-3, 0.01)}
# Least share of equal captions: the order of sums may change near ties, half precision more so.
SAME_CAPTIONS = {"fp32": 0.75, "bf16": 0.0, "fp16": 0.0}
FP16_SCALE = 2.0**12
LARGE_MEMORY = 16 << 30
"""Memory of the host for a large size: weights and gradients of two precisions, in fp32."""


@dataclass(frozen=True)
class Found:
    """Results of one device, moved to the CPU."""

    loss: float
    gradients: torch.Tensor
    captions: list[str]


def check_parity(setting: Setting) -> Iterator[Line]:
    for size in setting.sizes:
        try:
            yield from check_size(setting, size)
        except (RuntimeError, ValueError, MemoryError) as error:
            yield Line(f"parity.{size}", "FAIL", f"{type(error).__name__}: {first_line(error)}")
        setting.let_go()


def check_large_parity(setting: Setting) -> Iterator[Line]:
    """Compare the large sizes: two images, on accelerators with a host that has the memory."""
    for size in setting.large_sizes:
        name = f"large.{size}"
        if setting.quick or setting.device.type == "cpu":
            yield Line(name, "SKIP", "a large size is compared on an accelerator only")
        elif (memory := host_memory()) < LARGE_MEMORY:
            yield Line(name, "SKIP", f"the host has {memory >> 30} GiB of {LARGE_MEMORY >> 30}")
        else:
            try:
                yield from check_size(setting, size, num_images=2)
            except (RuntimeError, ValueError, MemoryError) as error:
                yield Line(name, "FAIL", f"{type(error).__name__}: {first_line(error)}")
            setting.let_go()


def host_memory() -> int:
    """Return the bytes of memory of the host; a large number where the system hides it."""
    if not hasattr(os, "sysconf"):
        return 1 << 62
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_size(setting: Setting, size: str, *, num_images: int = 4) -> Iterator[Line]:
    captioner = make_captioner(size)
    batch = make_batch(captioner, num_images)
    with exact_fp32():
        expected = compute(captioner, batch, choose_hardware("cpu", "fp32"))
        for precision in setting.precisions:
            found = compute(captioner, batch, setting.at(precision))
            yield compare(f"parity.{size}.{precision}", found, expected, precision=precision)


def compute(captioner: Captioner, batch: CaptionBatch, hardware: Hardware) -> Found:
    captioner.move_to(hardware.device)
    captioner.eval_mode()
    inputs = batch.to(hardware.device)
    scale = FP16_SCALE if hardware.precision == "fp16" else 1.0
    with hardware.autocast():
        loss = captioner.loss(inputs)
    torch.autograd.backward(loss.loss_sum / loss.num_tokens * scale)
    gradients = [
        parameter.grad.detach().float().cpu().flatten() / scale
        for _, parameter in captioner.named_trainable()
        if parameter.grad is not None
    ]
    captioner.model.zero_grad(set_to_none=True)
    config = GenerateConfig(num_beams=3, max_new_tokens=10)
    with torch.inference_mode(), hardware.autocast():
        states = captioner.vision_states(inputs)
        predictions = generate(captioner, states, image_ids=batch.image_ids, config=config)
    mean = float(loss.loss_sum.detach()) / loss.num_tokens
    return Found(mean, torch.cat(gradients), [prediction.caption for prediction in predictions])


def compare(name: str, found: Found, expected: Found, *, precision: str) -> Line:
    loss = abs(found.loss - expected.loss) / abs(expected.loss)
    difference = (found.gradients - expected.gradients).norm() / expected.gradients.norm()
    same = [a == b for a, b in zip(found.captions, expected.captions, strict=True)]
    share = sum(same) / len(same)
    most_loss, most_gradient = LIMITS[precision]
    # A NaN is never below its limit.
    passed = loss <= most_loss and float(difference) <= most_gradient
    # If half precision changes nothing, it is not in use.
    passed = passed and (precision == "fp32" or float(difference) > 0.0)
    return Line(
        name,
        verdict(passed and share >= SAME_CAPTIONS[precision]),
        f"loss {loss:.1e} (limit {most_loss:.0e}), gradients {float(difference):.1e}"
        f" (limit {most_gradient:.0e}), same captions {sum(same)}/{len(same)}",
    )
