"""Measure captioned images per second, from pixels on the device to text, by batch and beams."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch

from captune.hardware import Hardware
from captune.inference import generate
from captune.models import Captioner
from captune.recipe import GenerateConfig
from gpu_checks.setting import Line, Setting, first_line, make_captioner, make_pixels

TOKENS = 16


def check_decoding(setting: Setting) -> Iterator[Line]:
    sizes = ["vit-gpt2-tiny"] if setting.quick else ["blip-base", "vit-gpt2-base"]
    batches = (2, 4) if setting.quick else (16, 64, 256)
    hardware = setting.at(setting.fast_precision)
    for size in sizes:
        captioner = make_captioner(size, words=20_000)
        captioner.move_to(hardware.device)
        for beams in (1, 3):
            for batch in batches:
                name = f"decoding.{size}.batch{batch}.beams{beams}"
                setting.reset_peak()
                try:
                    figure = time_batch(captioner, hardware, batch=batch, beams=beams)
                    yield Line(name, "PASS", figure)
                except (RuntimeError, ValueError, MemoryError) as error:
                    yield Line(name, "FAIL", f"{type(error).__name__}: {first_line(error)}")
        del captioner
        setting.let_go()


@torch.inference_mode()
def time_batch(captioner: Captioner, hardware: Hardware, *, batch: int, beams: int) -> str:
    pixels = make_pixels(captioner, batch).to(hardware.device)
    config = GenerateConfig(num_beams=beams, max_new_tokens=TOKENS, min_new_tokens=TOKENS)
    image_ids = [str(number) for number in range(batch)]
    times = []
    for _ in range(3):
        hardware.synchronize()
        started = time.perf_counter()
        with hardware.autocast():
            states = captioner.encode(pixels)
            found = generate(captioner, states, image_ids=image_ids, config=config)
        hardware.synchronize()
        times.append(time.perf_counter() - started)
    if len(found) != batch:
        raise ValueError(f"{len(found)} captions for {batch} images")
    seconds = min(times)
    return (
        f"{hardware.precision}, {TOKENS} tokens: {batch / seconds:.1f} images/s,"
        f" {1000 * seconds:.0f} ms, peak {hardware.peak_memory() / 2**30:.2f} GiB"
    )
