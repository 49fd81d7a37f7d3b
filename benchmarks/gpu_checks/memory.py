"""Check that with too little memory, training and captioning halve batches, with equal captions."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from PIL import Image

from captune.inference import caption_images
from captune.recipe import GenerateConfig
from gpu_checks.setting import Line, Setting, make_captioner, make_pixels, make_recipe, verdict
from gpu_checks.training import new_captioner, train_on

IMAGES = 144


def check_memory(setting: Setting) -> Iterator[Line]:
    if setting.device.type != "cuda":
        yield Line("memory", "SKIP", "torch limits the memory of CUDA devices only")
        return
    yield check_training_memory(setting)
    yield check_captioning_memory(setting)


def check_training_memory(setting: Setting) -> Line:
    """Train with a limit between the memory of small and of large micro batches."""
    size = "vit-gpt2-tiny" if setting.quick else "swin-gpt2-tiny"
    peaks = {}
    for micro in (4, 128):
        recipe = make_recipe(
            setting,
            size=size,
            micro_batch_size=micro,
            global_batch_size=128,
            epochs=1,
        )
        setting.reset_peak()
        train_on(new_captioner(recipe, IMAGES), recipe, setting.folder / str(micro), images=IMAGES)
        peaks[micro] = torch.cuda.max_memory_reserved(setting.device)
    small, large = peaks[4], peaks[128]
    shown = f"micro batches of 4 need {small / 2**20:.0f} MiB, of 128 {large / 2**20:.0f} MiB"
    if large < 1.5 * small:
        return Line("memory.training", "SKIP", f"{shown}: too close for a limit between them")
    with limited_memory(setting, int(small + 0.4 * (large - small))):
        messages = train_on(
            new_captioner(recipe, IMAGES), recipe, setting.folder / "tight", images=IMAGES
        )
    halved = [line for line in messages if "halved" in line]
    return Line("memory.training", verdict(bool(halved)), f"{shown}; {'; '.join(halved)[:120]}")


def check_captioning_memory(setting: Setting) -> Line:
    captioner = make_captioner("blip-tiny")
    captioner.move_to(setting.device)
    config = GenerateConfig(num_beams=1, max_new_tokens=4)
    pixels = make_pixels(captioner, 16)
    images = [
        (str(n), Image.fromarray((p.permute(1, 2, 0) * 40 + 128).clamp(0, 255).byte().numpy()))
        for n, p in enumerate(pixels.repeat(32, 1, 1, 1))
    ]
    peaks, captions = {}, {}
    for size in (8, 512):
        setting.reset_peak()
        found = caption_images(captioner, images, config=config, batch_size=size)
        captions[size] = [prediction.caption for prediction in found]
        peaks[size] = torch.cuda.max_memory_reserved(setting.device)
    small, large = peaks[8], peaks[512]
    shown = f"8 images need {small / 2**20:.0f} MiB, 512 {large / 2**20:.0f} MiB"
    if large < 1.5 * small:
        return Line("memory.captioning", "SKIP", f"{shown}: too close for a limit between them")
    with (
        limited_memory(setting, int(small + 0.4 * (large - small))),
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always")
        found = caption_images(captioner, images, config=config, batch_size=512)
        tight = [prediction.caption for prediction in found]
    messages = [str(warning.message) for warning in caught if "do not fit" in str(warning.message)]
    # The size of a batch changes the order of sums, which can change a near tie.
    same = sum(a == b for a, b in zip(tight, captions[8], strict=True))
    passed = bool(messages) and same >= 0.9 * len(images)
    figure = f"{shown}; same captions {same}/{len(images)}; {'; '.join(messages)[:120]}"
    return Line("memory.captioning", verdict(passed), figure)


@contextmanager
def limited_memory(setting: Setting, size: int) -> Iterator[None]:
    """Limit torch to this many bytes of the device."""
    setting.let_go()
    total = torch.cuda.get_device_properties(setting.device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, size / total), setting.device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, setting.device)
        setting.let_go()
