"""Measure time and memory of an optimizer step: forward, backward, clipping and AdamW."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

import torch

from captune.hardware import Hardware
from gpu_checks.setting import Line, Setting, first_line, make_batch, make_captioner


def check_speed(setting: Setting) -> Iterator[Line]:
    sizes = ["vit-gpt2-tiny"] if setting.quick else ["blip-base", "git-base", "vit-gpt2-base"]
    images = 4 if setting.quick else 16
    precisions = ["fp32"] if setting.device.type == "cpu" else ["fp32", "bf16"]
    for size in sizes:
        for precision in precisions:
            name = f"speed.{size}.{precision}"
            try:
                yield time_steps(setting, size, setting.at(precision), images=images)
            except (RuntimeError, ValueError, MemoryError) as error:
                yield Line(name, "FAIL", f"{type(error).__name__}: {first_line(error)}")
            setting.let_go()


def time_steps(setting: Setting, size: str, hardware: Hardware, *, images: int) -> Line:
    setting.reset_peak()
    captioner = make_captioner(size, words=20_000)
    captioner.move_to(hardware.device)
    captioner.train_mode()
    batch = make_batch(captioner, images).to(hardware.device)
    parameters = [parameter for _, parameter in captioner.named_trainable()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-5, fused=True)

    def step() -> None:
        with hardware.autocast():
            loss = captioner.loss(batch)
        torch.autograd.backward(loss.loss_sum / loss.num_tokens)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    times = []
    for number in range(3 if setting.quick else 8):
        hardware.synchronize()
        started = time.perf_counter()
        step()
        hardware.synchronize()
        if number:  # the first step is a warm-up
            times.append(time.perf_counter() - started)
    seconds = statistics.median(times)
    return Line(
        f"speed.{size}.{hardware.precision}",
        "PASS",
        f"{images} images of {batch.num_label_tokens // images} tokens: {1000 * seconds:.1f} ms per"
        f" step, {images / seconds:.1f} images/s, peak {hardware.peak_memory() / 2**30:.2f} GiB",
    )
